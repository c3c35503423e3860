"""Pseudo-labels of whole unlabelled scans, made once in a training, for a method that learns from them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.networks.utils import eval_mode
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm.auto import tqdm

from acdc_semicycle.data.pairs import Pairs
from acdc_semicycle.data.slices import Slices
from acdc_semicycle.imageio.pictures import IGNORED
from acdc_semicycle.methods.objective import Objective, softmax
from acdc_semicycle.runtime import distributed, signals
from acdc_semicycle.runtime.errors import InputError, many
from acdc_semicycle.runtime.files import replacing

log = logging.getLogger("semicycle")


class PseudoLabelling:
    """Segments the unlabelled scans as ``predict`` does, at the first epoch that begins after ``objective.start``.

    A pixel whose largest probability is below ``sure``, and what post-processing removes, is not annotated. The
    pseudo-labels lie beside the run's state: a continued run has the very ones that it began with.

    Args:
        objective: nothing is done where it does not wait for pseudo-labels.
        loader: gives no unlabelled images until they have pseudo-labels.
        inferer: of the validation, from images [1, C, H, W, slices] to logits.
        postprocessing: of a dict with ``pred``, class indices [1, H, W, slices].
        folder: where the pseudo-labels are kept.
    """

    def __init__(
        self,
        objective: Objective,
        loader: Pairs,
        inferer: Callable[[Tensor, nn.Module], Tensor],
        postprocessing: Callable[[dict[str, Tensor]], dict[str, Tensor]],
        folder: str | Path,
        sure: float = 0.8,
    ) -> None:
        self.objective, self.loader = objective, loader
        self.inferer, self.postprocessing = inferer, postprocessing
        self.file, self.sure = Path(folder) / "pseudo_labels.npz", sure

    def attach(self, engine: Engine) -> None:
        """Attach this one before what shows the time left."""
        if self.objective.waits_for_pseudo_labels:
            self.loader.pause_unlabelled()
            engine.add_event_handler(Events.EPOCH_STARTED, self._begin_if_due)

    def _begin_if_due(self, engine: Engine) -> None:
        """Give the unlabelled images their pseudo-labels, once enough steps are done."""
        start = self.objective.start
        if start is None or engine.state.iteration < start or self.loader.unlabelled.pseudo_labels is not None:
            return
        length = engine.state.epoch_length or 1
        first = -(-start // length) * length  # steps that are done where the first epoch with them begins
        if engine.state.iteration == first and distributed.rank() == 0:
            self._save(self.labels(lambda: _end_if_asked(engine)))
        distributed.wait()
        self.loader.resume_unlabelled(self._load())

    def labels(self, after_scan: Callable[[], None] = lambda: None) -> NDArray[np.uint8]:
        """The pseudo-labels [N, 1, H, W] of all unlabelled slices, 255 where they are not sure.

        Args:
            after_scan: called after each scan.
        """
        dataset, network = self.loader.unlabelled, self.objective.segmenter
        records = np.unique(dataset.stored["record"])
        log.info("segmenting %s for pseudo-labels", many(len(records), "unlabelled image"))
        labels = np.empty((len(dataset), 1, *dataset.size), np.uint8)
        with eval_mode(network):
            for record in tqdm(records, "pseudo-labels", disable=None):
                rows = np.flatnonzero(dataset.stored["record"] == record)
                labels[rows, 0] = self._of_scan(dataset, rows, network)
                after_scan()
        return labels

    def _of_scan(self, dataset: Slices, rows: NDArray, network: nn.Module) -> NDArray[np.uint8]:
        """The pseudo-labels [slices, H, W] of one scan."""
        device = next(network.parameters()).device
        image = torch.stack([dataset.plain(int(row))["image"] for row in rows], -1)[None].to(device)
        logits = torch.as_tensor(self.inferer(image, network))[0]
        s = softmax(logits.movedim(-1, 0))  # [slices, K, H, W]
        labels = s.argmax(1).cpu()
        refined = self.postprocessing({"pred": labels.movedim(0, -1)[None]})["pred"][0].movedim(-1, 0)
        sure = (s.amax(1).cpu() >= self.sure) & (refined == labels)
        return torch.where(sure, labels, IGNORED).numpy().astype(np.uint8)

    def _save(self, labels: NDArray[np.uint8]) -> None:
        """Keep the pseudo-labels for a run that continues."""
        with replacing(self.file) as part, part.open("wb") as stream:
            np.savez_compressed(stream, labels=labels)

    def _load(self) -> NDArray[np.uint8]:
        """The pseudo-labels with which this run began its second part.

        Raises:
            InputError: they are gone, or damaged.
        """
        try:
            with np.load(self.file, allow_pickle=False) as content:
                labels: Any = content["labels"]
        except (OSError, ValueError, KeyError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise InputError(
                f"{self.file} cannot be read ({reason}), the pseudo-labels with which this training continues: restore"
                " it, or give another output_dir"
            ) from error
        if labels.shape[:1] != (len(self.loader.unlabelled),):
            raise InputError(
                f"{self.file} is of {len(labels)} slices, expected {len(self.loader.unlabelled)}: restore it"
            )
        return labels


def _end_if_asked(engine: Engine) -> None:
    """End the process if a signal has asked for it: the state after the last epoch is saved.

    Several processes end after their next step, all together.
    """
    exit_code = signals.asked()
    if exit_code and distributed.world() == 1:
        log.info("stopped before epoch %d: the same command continues from there", engine.state.epoch)
        engine.logger.setLevel(logging.CRITICAL)  # to ignite it is an error
        raise SystemExit(exit_code)
