"""A scan in, a segmentation on its own grid out: inputs, prediction, post-processing, the manifest.

The bundle's inference.json is made of these.
"""
