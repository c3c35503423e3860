"""Semi-supervised segmentation with CycleGAN (Mondal et al. 2019), built on MONAI.

``__all__`` is the public interface: a trained network as a function, :class:`Segmenter`, what it returns, and the error
for a user's mistakes. All else is internal.
"""

import sys
from typing import TYPE_CHECKING

from acdc_semicycle.former_modules import FormerModules
from acdc_semicycle.runtime.exports import exports

if TYPE_CHECKING:
    from acdc_semicycle.inference.segmentation import Segmentation
    from acdc_semicycle.inference.segmenter import Segmenter
    from acdc_semicycle.runtime.errors import InputError

__all__ = ["InputError", "Segmentation", "Segmenter", "__version__"]
__version__ = "0.2.0"

HOMES = {
    "InputError": "runtime.errors",
    "Segmentation": "inference.segmentation",
    "Segmenter": "inference.segmenter",
}
__getattr__ = exports(__name__, HOMES)  # what they need is imported when they are first used

sys.meta_path.insert(0, FormerModules())  # first: a former package's path leads to a second copy of its modules


def __dir__() -> list[str]:
    """What completion offers: the public names, too, before their first use."""
    return sorted({*globals(), *__all__})
