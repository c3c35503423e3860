"""What a training leaves to others: files of weights, a model with its card, exports.

A file that comes from strangers is data here: nothing in it is ever run.
"""
