"""The metrics of a validation as handlers of MONAI's evaluator."""

from __future__ import annotations

from collections.abc import Sequence

from monai.handlers import IgniteMetricHandler, from_engine

from acdc_semicycle.evaluation.metrics import MeanDice, MeanIoU, PooledIoU


def overlap_metrics(classes: Sequence[str], paper_miou_without: int | None = None) -> dict[str, IgniteMetricHandler]:
    """Dice, IoU and mIoU at the images' own resolution, and the paper's mIoU at the network's, by their names.

    Args:
        classes: names of the classes; a first one that is not the background counts as a structure.
        paper_miou_without: class whose row and column the published code takes out, if any.
    """
    count, background_counts = len(classes), classes[0] != "background"
    own = from_engine(["pred", "label"])
    network = from_engine(["pred_network", "label_network"])
    return {
        "dice": IgniteMetricHandler(metric_fn=MeanDice(count, background_counts), output_transform=own),
        "iou": IgniteMetricHandler(metric_fn=MeanIoU(count, background_counts), output_transform=own),
        "miou": IgniteMetricHandler(metric_fn=PooledIoU(count), output_transform=own),
        "paper_miou": IgniteMetricHandler(metric_fn=PooledIoU(count, paper_miou_without), output_transform=network),
    }
