"""A few images with their predictions, small enough to count by hand."""

from pathlib import Path

import torch

from acdc_semicycle.evaluation import model_scores
from acdc_semicycle.evaluation.metrics import confusion

NAMES = ["RV", "MYO", "LV"]
CLASSES = ["background", *NAMES]


def case(name: str, prediction: list[int], truth: list[int], phase: str = "ED") -> model_scores.Case:
    p, t = torch.tensor(prediction), torch.tensor(truth)
    matrix = confusion(p, t, 4)
    return model_scores.Case(name, name[:2], phase, Path("none.nii.gz"), 0, p.numpy(), t.numpy(), matrix, matrix)


CASES = [
    case("p1", [1, 1, 2, 3, 0, 0], [1, 0, 2, 3, 3, 0]),  # Dice 2/3, 1, 2/3
    case("p2", [0, 0, 2, 3, 3, 0], [0, 0, 2, 2, 3, 0], "ES"),  # no RV in either: Dice -, 2/3, 2/3
    case("p3", [1, 0, 2, 3, 0, 0], [0, 0, 2, 3, 0, 0], "ES"),  # RV only predicted: Dice 0, 1, 1
]
