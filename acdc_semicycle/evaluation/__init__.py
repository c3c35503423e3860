"""How good a segmentation is: metrics, clinical indices, quality without truth, comparisons.

Reads label maps and reports; trains nothing.
"""
