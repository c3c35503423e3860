"""What others report for few annotated patients of ACDC.

Mean 3D Dice of RV, MYO and LV over the 20 test patients of the usual lists (70 training, 10 validation, 20 test
patients), as the methods' papers and the comparisons in later papers give it. A range spans several reports.
"""

from __future__ import annotations

from typing import NamedTuple

VALIDATION = "validation patients"
UNKNOWN = "not reported"
REPORTED = "some reports: on the reported patients, too"


class Published(NamedTuple):
    """The Dice of one method with some annotated patients, from the lowest to the highest report."""

    method: str
    patients: int
    low: float
    high: float
    chosen_on: str  # on whom the network, of all epochs, was chosen


PUBLISHED = (
    Published("U-Net", 1, 0.39, 0.39, VALIDATION),
    Published("U-Net", 3, 0.48, 0.56, VALIDATION),
    Published("U-Net", 7, 0.794, 0.794, VALIDATION),
    Published("nnU-Net", 3, 0.830, 0.830, VALIDATION),  # on its own pseudo-Dice
    Published("nnU-Net", 7, 0.863, 0.863, VALIDATION),
    Published("Mean Teacher", 3, 0.566, 0.566, VALIDATION),  # in the settings of SSL4MIS
    Published("Mean Teacher", 7, 0.810, 0.810, VALIDATION),
    Published("FixMatch", 1, 0.72, 0.72, UNKNOWN),
    Published("FixMatch", 3, 0.638, 0.824, UNKNOWN),
    Published("FixMatch", 7, 0.861, 0.879, UNKNOWN),
    Published("UniMatch", 3, 0.844, 0.876, REPORTED),  # run again by others
    Published("UniMatch", 7, 0.881, 0.899, REPORTED),
    Published("UniMatch", 14, 0.905, 0.905, REPORTED),
    Published("BCP", 1, 0.649, 0.649, VALIDATION),
    Published("BCP", 3, 0.876, 0.876, VALIDATION),
    Published("BCP", 7, 0.888, 0.888, VALIDATION),
    Published("BCP", 14, 0.895, 0.895, VALIDATION),
    Published("AD-MT", 3, 0.8885, 0.8885, VALIDATION),  # ECCV 2024
    Published("AD-MT", 7, 0.8946, 0.8946, VALIDATION),
    Published("ABD, TraCoCo, OPMatch, MEDL", 3, 0.890, 0.897, REPORTED),
    Published("ABD, TraCoCo, OPMatch, MEDL", 7, 0.898, 0.905, REPORTED),
    Published("ABD, TraCoCo, OPMatch, MEDL", 14, 0.912, 0.912, REPORTED),
    Published("nnFilterMatch", 3, 0.895, 0.895, UNKNOWN),
    Published("nnFilterMatch", 7, 0.896, 0.901, UNKNOWN),
    Published("U-Net", 70, 0.914, 0.914, UNKNOWN),
    Published("nnU-Net", 70, 0.915, 0.927, UNKNOWN),
)
