"""One file for each data set: it gives a sorted list of records, the names of the classes and their colours.

ACDC, PASCAL VOC, Cityscapes, a user's own folders, and the phantom that is drawn here.
"""
