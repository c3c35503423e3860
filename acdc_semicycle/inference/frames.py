"""The frames of a scan through the bundle's evaluator: what ``predict`` and :class:`acdc_semicycle.Segmenter` share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents
from monai.networks.utils import eval_mode
from monai.transforms import Compose
from numpy.typing import NDArray
from torch import Tensor, nn

from acdc_semicycle.artifacts.model import Model
from acdc_semicycle.artifacts.weights import load_network
from acdc_semicycle.evaluation import quality
from acdc_semicycle.evaluation.quality import Judged
from acdc_semicycle.inference.postprocessing import on_own_grid
from acdc_semicycle.runtime.errors import InputError

Clock = Callable[[str | None], None]  # counts the time since its last call as that stage's; as no stage's for None


@dataclass
class Frame:
    """One frame as segmented."""

    labels: NDArray  # class indices, canonical [H, W, slices]
    probabilities: NDArray | None  # [K, H, W, slices], if they are asked for
    judged: Judged
    network_probabilities: Tensor | None = None  # [K, h, w, slices] on the network's grid, if they are kept

    def probabilities_later(self) -> NDArray:
        """Probabilities [K, H, W, slices] on the scan's own grid, computed now from those on the network's."""
        assert self.network_probabilities is not None, "they are kept"
        s = self.network_probabilities.movedim(-1, 0).contiguous()
        return torch.cat([*on_own_grid(s, self.labels.shape)]).movedim(0, -1).float().numpy()


class FrameSegmenter:
    """Segments frames of scans by the bundle's evaluator; its methods may be called from several threads.

    One call at a time goes through the network, others wait for it.

    Args:
        evaluator: over a data set whose list of items is set here; its output has ``pred`` (class indices) and, if they
            are asked for, ``probabilities``, both on the scan's own canonical grid, and ``pred_network``.
        network: G_IS, and ``image_generator`` G_SI, which get the weights of ``model``.
        keep: whether each frame keeps its probabilities on the network's grid, on the CPU.

    Raises:
        InputError: the weights are damaged, or of another architecture.
    """

    def __init__(
        self,
        evaluator: SupervisedEvaluator,
        network: nn.Module,
        image_generator: nn.Module | None,
        model: Model,
        keep: bool = False,
    ) -> None:
        _load_weights(network, image_generator, model)
        loader: Any = evaluator.data_loader
        self.dataset, self.prepare = loader.dataset, loader.dataset.transform
        self.evaluator, self.network = evaluator, network
        self.evaluator.logger = logging.getLogger("semicycle.evaluator")  # ignite's own is that of all evaluators
        self.evaluator.logger.setLevel(logging.CRITICAL)  # each error is raised, and named by the caller
        self.collector = _Collector(network, image_generator, keep)
        self.collector.attach(evaluator)
        self.lock = Lock()

    def prepared(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """A frame as the network takes it.

        Args:
            item: ``image``, a volume or the file of a picture, and of a volume ``frame``, from 0.

        Raises:
            RuntimeError: MONAI's, its cause an InputError where it is the user's mistake.
        """
        return self.prepare(item)

    def segmented(self, items: list[dict[str, Any]], clock: Clock = lambda stage: None) -> list[Frame]:
        """The frames of prepared items, in their order.

        Raises:
            InputError: the network gives NaN.
            RuntimeError: MONAI's, its cause an InputError where it is the user's mistake.
        """
        with self.lock:
            self.collector.frames, self.collector.clock = [], clock
            self.dataset.data, self.dataset.transform = items, Compose()
            self.evaluator.state.epoch_length = len(items)
            try:
                self.evaluator.run()
            except BaseException:  # else ignite's next run would continue this one's remains, and do nothing, silently
                self.evaluator._dataloader_iter, self.evaluator._internal_run_generator = None, None
                raise
            finally:
                self.dataset.data, self.dataset.transform = [], self.prepare
                frames, self.collector.frames = self.collector.frames, []
            return frames

    def probabilities(self, image: Tensor, network: nn.Module | None = None) -> Tensor:
        """Probabilities [K, h, w, slices] of a prepared image [C, h, w, slices], on the CPU; nothing is collected.

        Args:
            network: one of the same kind instead of the own one, such as a member of an ensemble.
        """
        network = network or self.network
        x = torch.as_tensor(image).to(self.evaluator.state.device)
        with self.lock, eval_mode(network):
            logits = self.evaluator.inferer(x[None], network)
        return torch.as_tensor(logits)[0].float().softmax(0).cpu()


class _Collector:
    """Collects segmented frames from the evaluator, and tells a clock of each stage."""

    def __init__(self, network: nn.Module, image_generator: nn.Module | None, keep: bool) -> None:
        self.network, self.image_generator, self.keep = network, image_generator, keep
        self.frames: list[Frame] = []
        self.clock: Clock = lambda stage: None

    def attach(self, evaluator: SupervisedEvaluator) -> None:
        """Listen to the evaluator's events."""
        stages = {
            Events.GET_BATCH_STARTED: None,
            Events.GET_BATCH_COMPLETED: "prepare",
            IterationEvents.FORWARD_COMPLETED: "network",
            Events.ITERATION_COMPLETED: "back",
        }
        for event, stage in stages.items():
            evaluator.add_event_handler(event, self._tick, stage)
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._collect)

    def _tick(self, engine: Engine, stage: str | None) -> None:
        """Count the time since the last event."""
        self.clock(stage)

    def _collect(self, engine: Engine) -> None:
        """Judge a frame, and keep it."""
        item = engine.state.output[0]  # type: ignore[index]
        name = item["image"].meta["filename_or_obj"]
        if not torch.isfinite(item["pred_network"]).all():
            raise InputError(f"{name}: the network gave NaN or infinite values: give another checkpoint")
        votes = getattr(engine.inferer, "votes", None)  # type: ignore[attr-defined]
        judged = quality.judge(item["image"], item["pred_network"], self.network, self.image_generator, votes)
        labels, probabilities = item["pred"].as_tensor()[0].cpu().numpy(), None
        if "probabilities" in item:
            probabilities = item["probabilities"].cpu().numpy()
        network_probabilities = item["pred_network"].cpu() if self.keep else None
        self.frames.append(Frame(labels, probabilities, judged, network_probabilities))
        self.clock("judge")


def check_flips(flips: Any, model: Model) -> None:
    """Refuse mirror images for a network that was not trained on them.

    Raises:
        InputError: names the network.
    """
    if flips and model.card["flips"] is False:
        raise InputError(f"{model.path} was not trained on mirror images, and would segment them badly: omit --flips")


def _load_weights(network: nn.Module, image_generator: nn.Module | None, model: Model) -> None:
    """Load the weights of both networks, as far as they are there."""
    load_network(network, model.weights(), model.path)
    weights = model.image_generator()
    if image_generator is not None and weights is not None:
        load_network(image_generator, weights, model.path)
        image_generator.eval()
