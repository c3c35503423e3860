"""What the bundle adds to any method: another loss of labelled images, and the running mean of the segmenter."""

from acdc_semicycle.methods.losses import cross_entropy, cross_entropy_and_dice
from acdc_semicycle.methods.objective import LabelledLoss, Objective
from acdc_semicycle.methods.teacher import Teacher
from acdc_semicycle.runtime.errors import InputError

LABELLED_LOSSES: dict[str, LabelledLoss] = {
    "cross_entropy": cross_entropy,
    "cross_entropy_and_dice": cross_entropy_and_dice,
}


def configured(objective: Objective, labelled_loss: str, average: float | None) -> Objective:
    """A method with the bundle's loss of labelled images, and with the running mean of G_IS's weights as segmenter.

    Args:
        labelled_loss: its name in ``LABELLED_LOSSES``.
        average: decay of the mean; None for none. A method that has a teacher keeps its own.

    Raises:
        InputError: there is no such loss.
    """
    if labelled_loss not in LABELLED_LOSSES:
        raise InputError(f"labelled_loss is {labelled_loss!r}: give one of {', '.join(LABELLED_LOSSES)}")
    objective.labelled_loss = LABELLED_LOSSES[labelled_loss]
    if average is not None and objective.T is None:
        objective.T = Teacher(objective.G_IS, average)
    return objective
