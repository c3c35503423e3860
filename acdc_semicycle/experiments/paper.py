"""The runs of Tables 1 and 2 of the paper by their names, and its numbers."""

from __future__ import annotations

PAPER: dict[tuple[str, str], dict[str, float]] = {  # method and labels: the mean IoU of each data set
    ("full", "100"): {"voc": 0.5543, "cityscapes": 0.5551, "acdc": 0.8982},
    ("hung", "20"): {"voc": 0.2032, "cityscapes": 0.3490, "acdc": 0.8063},
    ("partial", "50"): {"voc": 0.4108, "cityscapes": 0.4856, "acdc": 0.8863},
    ("partial", "30"): {"voc": 0.3237, "cityscapes": 0.4502, "acdc": 0.8785},
    ("partial", "20"): {"voc": 0.2688, "cityscapes": 0.4112, "acdc": 0.8642},
    ("partial", "10"): {"voc": 0.2158, "cityscapes": 0.3636, "acdc": 0.8418},
    ("semicycle", "50"): {"voc": 0.4197, "cityscapes": 0.4997, "acdc": 0.8890},
    ("semicycle", "30"): {"voc": 0.3514, "cityscapes": 0.4654, "acdc": 0.8804},
    ("semicycle", "20"): {"voc": 0.2981, "cityscapes": 0.4321, "acdc": 0.8688},
    ("semicycle", "10"): {"voc": 0.2543, "cityscapes": 0.3923, "acdc": 0.8463},
    ("no_cycle_S", "20"): {"voc": 0.2627},
    ("no_cycle_I", "20"): {"voc": 0.2733},
    ("no_disc_S", "20"): {"voc": 0.2614},
    ("no_disc_I", "20"): {"voc": 0.2543},
}
METHODS = ("full", "hung", "partial", "semicycle")
ABLATIONS = ("no_cycle_S", "no_cycle_I", "no_disc_S", "no_disc_I")
SCORES = {  # of a report's summary, the main one first, in words
    "acdc": {"dice": "3D Dice", "iou": "3D IoU", "paper_miou": "paper's mIoU"},
    "voc": {"miou": "mIoU", "paper_miou": "paper's mIoU"},
    "cityscapes": {"miou": "mIoU", "paper_miou": "paper's mIoU"},
}


def labels_in_words(labels: str) -> str:
    """A cell's labels for a reader: 20 %, 3 patients."""
    return f"{labels[:-1]} patients" if labels.endswith("p") else f"{labels} %"


def label_order(labels: str) -> tuple[bool, float]:
    """A key that sorts labels from many to few, percentages first."""
    return labels.endswith("p"), -float(labels.removesuffix("p"))
