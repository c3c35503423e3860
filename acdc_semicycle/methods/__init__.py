"""One method, one file: the paper's objective and those it is compared with, their networks and losses.

Knows nothing of files or data sets.
"""
