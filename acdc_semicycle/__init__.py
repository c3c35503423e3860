"""Semi-supervised segmentation with CycleGAN (Mondal et al. 2019), built on MONAI."""

import sys

from acdc_semicycle.former_modules import FormerModules

__version__ = "0.2.0"

sys.meta_path.insert(0, FormerModules())  # first: a former package's path leads to a second copy of its modules
