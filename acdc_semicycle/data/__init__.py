"""From records to batches: splits, transforms, the cache of prepared slices, augmentation, pairs.

Knows data sets and files, but no method.
"""
