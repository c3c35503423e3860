"""A scan in, a segmentation on its own grid out: inputs, prediction, post-processing, the manifest.

A scan is one file or DICOM series that is given, a job a scan that is being segmented, a case one label map of it: an
entry of the manifest. The bundle's inference.json is made of these.
"""

from acdc_semicycle.runtime.exports import exports

HOMES = {
    "FlipInferer": "postprocessing",
    "OnOwnGridd": "postprocessing",
    "Refined": "postprocessing",
    "Scans": "inputs",
}
__getattr__ = exports(__name__, HOMES)
