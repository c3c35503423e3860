"""``--labelled 0`` is the overlay for scans without masks."""

import pytest

from acdc_semicycle.config.locations import overlay
from acdc_semicycle.config.no_labels import with_overlay

FEW, SMALL, NONE = overlay("few"), overlay("small"), overlay("unannotated")


@pytest.mark.parametrize("words", [["--labelled", "0"], ["--labelled=0"]])
def test_few_without_labels_is_unannotated(words):
    overlays, options = with_overlay([FEW], ["--dataset_dir", "SCANS", *words, "--epochs=2"])
    assert overlays == [FEW, NONE]
    assert options == ["--dataset_dir=SCANS", "--epochs=2"]


def test_the_overlay_is_named_once():
    assert with_overlay([FEW, NONE], ["--labelled", "0"]) == ([FEW, NONE], [])


@pytest.mark.parametrize(
    ("overlays", "options"),
    [
        ([FEW], ["--labelled", "3"]),
        ([FEW], ["--labelled", "0", "--labelled", "3"]),
        ([SMALL], ["--labelled", "0"]),
        ([FEW], []),
    ],
)
def test_all_else_stays_as_it_is(overlays, options):
    assert with_overlay(overlays, options) == (overlays, options)
