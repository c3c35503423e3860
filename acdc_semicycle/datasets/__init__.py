"""One data set, one file: each gives a sorted list of records, its class names and colours.

ACDC, PASCAL VOC, Cityscapes, a user's own folders, and the phantom that is drawn here.
"""
