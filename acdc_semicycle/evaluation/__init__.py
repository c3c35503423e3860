"""How good a segmentation is: metrics, clinical indices, quality without truth, comparisons.

Reads label maps and reports; trains nothing.
"""

from acdc_semicycle.runtime.exports import exports

HOMES = {
    "Report": "model_report",
    "overlap_metrics": "metric_handlers",
}
__getattr__ = exports(__name__, HOMES)
