"""Semi-supervised segmentation with CycleGAN (Mondal et al. 2019), built on MONAI."""

__version__ = "0.1.0"
