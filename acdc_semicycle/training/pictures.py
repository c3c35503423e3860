"""A few validation slices in TensorBoard, as the network segments and paints them after each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from numpy.typing import NDArray
from torch import Tensor

from acdc_semicycle.data.slices import Slices
from acdc_semicycle.evaluation.model_report import case_of
from acdc_semicycle.evaluation.model_scores import Case
from acdc_semicycle.methods.encoding import one_hot
from acdc_semicycle.methods.objective import Objective, softmax
from acdc_semicycle.runtime import distributed

if TYPE_CHECKING:  # matplotlib: only where something is drawn
    from acdc_semicycle.evaluation.figures import Example

CASES = 3  # of the validation, evenly spread
TAG = "validation"


class Pictures:
    """Slices to TensorBoard each time the network is validated: a row each, with the name of the case.

    A row is the image, the truth, the prediction, and the images that G_SI paints from both masks, if there is a G_SI.
    All stand as in the report: as a radiologist sees a scan, or as the photograph. Where nobody is validated, the row
    is the labelled training slice with the most foreground.

    Args:
        objective: its generators.
        evaluator: of the validation, whose output has ``pred`` and ``label`` on the image's own grid, and both at the
            network's resolution as ``pred_network`` and ``label_network``.
        dataset: labelled slices ``{"image": [C, H, W], "label": [1, H, W]}`` of the training.
        classes: names of the classes.
        writer: a ``SummaryWriter``.
        interval: epochs between validations.
        colours: RGB of each class.
    """

    def __init__(
        self,
        objective: Objective,
        evaluator: SupervisedEvaluator,
        dataset: Slices,
        classes: Sequence[str],
        writer: Any,
        interval: int = 1,
        colours: Sequence[Sequence[int]] | None = None,
    ) -> None:
        self.objective, self.evaluator, self.dataset = objective, evaluator, dataset
        self.classes, self.colours = classes, colours
        self.writer, self.interval = writer, interval
        self.rows: list[tuple[Case, list[NDArray]]] = []

    def attach(self, engine: Engine) -> None:
        """Draw after each validation of this training; of several processes the first one draws its own cases."""
        if distributed.rank() != 0:
            return
        loader: Any = self.evaluator.data_loader
        if not len(loader.dataset):
            engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self.draw_training_slice)
            return
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self.draw)
        collecting = self.evaluator.add_event_handler(Events.ITERATION_COMPLETED, self.collect)
        engine.add_event_handler(Events.COMPLETED, collecting.remove)  # the report at the end draws its own

    @torch.no_grad()
    def collect(self, engine: Engine) -> None:
        """Keep what is drawn of a validated case, if it is one of those that are drawn."""
        count = int(engine.state.epoch_length or 1)
        number = (engine.state.iteration - 1) % count
        if number not in np.linspace(0, count - 1, CASES).round():
            return
        (item,), (output,) = engine.state.batch, engine.state.output  # type: ignore[misc]
        case = case_of(item, output, len(self.classes))
        z = case.slice_index - (item.get("slice") or 0)
        masks = [torch.as_tensor(output[key])[:, :, :, z] for key in ("label_network", "pred_network")]
        self.rows.append((case, self._painted(torch.stack(masks).long())))

    def draw(self, engine: Engine) -> None:
        """Draw the cases of the last validation."""
        from acdc_semicycle.evaluation.examples import example

        rows, self.rows = self.rows, []
        if rows:
            self._add([example(case, painted=painted) for case, painted in rows], engine.state.epoch)

    @torch.no_grad()
    def draw_training_slice(self, engine: Engine) -> None:
        """Draw the training slice with the most foreground."""
        from acdc_semicycle.evaluation.examples import shown_slice

        foreground = [_foreground(row["label"], len(self.classes)) for row in self.dataset.stored]
        index = foreground.index(max(foreground))
        sample = self.dataset.plain(index)
        x, y = torch.as_tensor(sample["image"])[None].float(), torch.as_tensor(sample["label"])[None].long()
        self.objective.eval()
        prediction = softmax(self.objective.segmenter(x.to(self._device))).argmax(1, keepdim=True).cpu()
        path, _, _ = self.dataset.files[self.dataset.stored[index]["record"]]
        (name,) = self.dataset.where(torch.tensor([index]))
        planes = [_picture(x[0]), y[0, 0].numpy(), prediction[0, 0].numpy()]
        title = f"training: {Path(name).name}"
        row = shown_slice(Path(path), title, planes, self._painted(torch.cat([y, prediction])))
        self._add([row], engine.state.epoch)

    @property
    def _device(self) -> torch.device:
        """Where the networks are."""
        return next(self.objective.parameters()).device

    def _painted(self, masks: Tensor) -> list[NDArray]:
        """What G_SI paints from masks [B, 1, H, W], as pictures; nothing without a G_SI."""
        G_SI = getattr(self.objective, "G_SI", None)
        if G_SI is None:
            return []
        self.objective.eval()
        return [_picture(image.float().cpu()) for image in G_SI(one_hot(masks.to(self._device), len(self.classes)))]

    def _add(self, rows: Sequence[Example], epoch: int) -> None:
        """Write a figure of these rows."""
        from acdc_semicycle.evaluation.figures import examples_figure

        self.writer.add_figure(TAG, examples_figure(rows, self.classes, self.colours), epoch)


def _picture(image: Tensor) -> NDArray:
    """An image [C, H, W] in [-1, 1] as greys [H, W] or colours [H, W, 3] from 0 to 255."""
    picture = np.clip((image.permute(1, 2, 0).numpy() + 1) * 127.5, 0, 255).astype(np.uint8)
    return picture[..., 0] if picture.shape[-1] == 1 else picture


def _foreground(label: NDArray, classes: int) -> int:
    """Pixels of a mask that are of any class but the first."""
    return int(((label > 0) & (label < classes)).sum())
