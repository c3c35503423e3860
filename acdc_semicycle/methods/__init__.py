"""One method, one file: the paper's objective and those it is compared with, their networks and losses.

Knows nothing of files or data sets.
"""

from acdc_semicycle.runtime.exports import exports

HOMES = {
    "BidirectionalCopyPaste": "bcp",
    "FullyConvolutionalDiscriminator": "hung",
    "Hung": "hung",
    "MeanTeacher": "mean_teacher",
    "PixelDiscriminator": "networks",
    "ResidualGenerator": "networks",
    "SelfTraining": "self_training",
    "SemiCycle": "semicycle",
    "Supervised": "supervised",
    "UniMatch": "unimatch",
}
__getattr__ = exports(__name__, HOMES)
