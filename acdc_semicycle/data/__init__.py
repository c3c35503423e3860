"""From records to batches: splits, transforms, the cache of prepared slices, augmentation, pairs.

Knows data sets and files, but no method.
"""

from acdc_semicycle.runtime.exports import exports

HOMES = {
    "AntiAliasd": "transforms",
    "Appearance": "appearance",
    "Augment": "augment",
    "CheckLabeld": "labels",
    "LoadCheckedd": "transforms",
    "Pairs": "pairs",
    "ScaleImaged": "transforms",
    "Slices": "slices",
    "Windows": "windows",
    "mirrored": "windows",
    "read": "slices",
    "split": "splits",
}
__getattr__ = exports(__name__, HOMES)
