"""From class indices to the masks that the objective's terms take."""

import torch

from acdc_semicycle.methods.shapes import Labels, Mask


def one_hot(labels: Labels, classes: int) -> Mask:
    """Class indices [B, 1, H, W] as masks [B, K, H, W]; all zero where the index is no class (255, say)."""
    return (labels == torch.arange(classes, device=labels.device).view(1, -1, 1, 1)).float()
