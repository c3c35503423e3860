"""One slice in TensorBoard, as the networks see and paint it after each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events
from numpy.typing import NDArray

from acdc_semicycle.data.slices import Slices
from acdc_semicycle.methods.encoding import one_hot
from acdc_semicycle.methods.objective import Objective, softmax
from acdc_semicycle.runtime import distributed


class Pictures:
    """One slice to TensorBoard each epoch: image, truth, prediction, and the image painted back from each.

    A method that paints no images shows three pictures instead of five.

    Args:
        objective: its generators.
        dataset: slices ``{"image": [C, H, W], "label": [1, H, W]}``; the one with the most foreground is shown.
        classes: number of classes K.
        writer: a ``SummaryWriter``.
        interval: epochs between pictures.
        colours: RGB of each class.
    """

    def __init__(
        self,
        objective: Objective,
        dataset: Slices,
        classes: int,
        writer: Any,
        interval: int = 1,
        colours: Sequence[Sequence[int]] | None = None,
    ) -> None:
        self.objective, self.classes, self.colours = objective, classes, colours
        foreground = [_foreground(row["label"], classes) for row in dataset.stored]
        self.sample = dataset.plain(foreground.index(max(foreground)))
        self.writer, self.interval = writer, interval

    def attach(self, engine: Engine) -> None:
        """Draw after each epoch, or after every ``interval`` of them."""
        if distributed.rank() == 0:
            engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self)

    @torch.no_grad()
    def __call__(self, engine: Engine) -> None:
        """Draw the slice as it is segmented and painted now."""
        from acdc_semicycle.evaluation.figures import (  # matplotlib: only where something is drawn
            colours_of,
            cycle_figure,
        )

        device = next(self.objective.parameters()).device
        x = torch.as_tensor(self.sample["image"])[None].float().to(device)
        y = one_hot(torch.as_tensor(self.sample["label"])[None].long().to(device), self.classes)
        self.objective.eval()
        s_x = softmax(self.objective.segmenter(x))
        images = [x[0].cpu()]
        G_SI = getattr(self.objective, "G_SI", None)
        if G_SI is not None:
            images += [G_SI(mask)[0].float().cpu() for mask in (y, s_x)]
        table = colours_of(self.classes, self.colours)
        figure = cycle_figure(images, y[0].argmax(0).cpu(), s_x[0].argmax(0).cpu(), table)
        self.writer.add_figure("cycle", figure, engine.state.epoch)


def _foreground(label: NDArray, classes: int) -> int:
    """Pixels of a mask that are of any class but the first."""
    return int(((label > 0) & (label < classes)).sum())
