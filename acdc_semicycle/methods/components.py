"""Connected components of label maps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def largest_component(mask: NDArray) -> NDArray[np.bool_]:
    """The largest component of a mask, of a slice or a volume; nothing where the mask is empty.

    Pixels, or voxels, that share a corner are connected. MONAI's ``KeepLargestConnectedComponent`` needs scikit-image.
    """
    components, _ = ndimage.label(mask, np.ones([3] * mask.ndim))
    sizes = np.bincount(components.ravel())
    sizes[0] = 0  # what lies outside the mask
    return (components == sizes.argmax()) & (components > 0)


def largest_components(labels: NDArray) -> NDArray:
    """Class indices, of a slice or a volume, with the largest component of each structure; the rest is background."""
    result = np.zeros_like(labels)
    for structure, box in enumerate(ndimage.find_objects(labels.astype(np.uint8)), start=1):
        if box is not None:
            result[box][largest_component(labels[box] == structure)] = structure
    return result
