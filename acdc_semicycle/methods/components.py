"""Connected components of label maps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


def largest_components(labels: NDArray) -> NDArray:
    """Class indices, of a slice or a volume, with the largest component of each structure; the rest is background.

    Pixels, or voxels, that share a corner are connected. MONAI's ``KeepLargestConnectedComponent`` needs scikit-image.
    """
    result = np.zeros_like(labels)
    for structure, box in enumerate(ndimage.find_objects(labels.astype(np.uint8)), start=1):
        if box is None:
            continue
        parts, _ = ndimage.label(labels[box] == structure, np.ones([3] * labels.ndim))
        result[box][parts == np.bincount(parts.ravel())[1:].argmax() + 1] = structure
    return result
