"""What of a scan lies far outside of a training: by hand, on real scans, and through a training's own check."""

import json
from pathlib import Path

import numpy as np
import pytest

from acdc_semicycle.data import check, training_ranges
from acdc_semicycle.data.check_findings import Counts
from acdc_semicycle.data.fingerprint import Fingerprint
from acdc_semicycle.data.training_ranges import Facts, facts_of, joined, outside, ranges_of
from acdc_semicycle.datasets import acdc, phantom
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.volumes import Volume

ACDC = Path(__file__).parents[3] / "shared" / "data" / "acdc"
CT = (-1024.0, -1000.0, -300.0, 900.0, 2000.0)
MR = (0.0, 2.0, 120.0, 900.0, 1200.0)


def facts(size=(256, 216, 10), spacing=(1.4, 1.4, 10.0), intensities=MR) -> Facts:
    return Facts(size, spacing, intensities)


RANGES = ranges_of([facts(), facts((216, 256, 8), (1.2, 1.6, 8.0)), facts((240, 240, 1), (1.5, 1.5, 5.0))])


def test_ranges_are_the_least_and_the_most_and_a_single_slice_has_no_distance():
    assert RANGES == {
        "images": 3, "negative": False, "rows": [216.0, 256.0], "columns": [216.0, 256.0], "in_plane_mm": [1.4, 1.6],
        "between_slices_mm": [8.0, 10.0],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("scan", "phrases"),
    [
        (facts(), []),
        (facts((384, 384, 12), (2.4, 2.4, 15.0)), []),  # half as large again
        (facts((385, 256, 12)), ["385 rows, in training 216 to 256"]),
        (facts((144, 144, 12)), []),  # two thirds
        (facts((256, 100, 12)), ["100 columns, in training 216 to 256"]),
        (facts(spacing=(5.0, 5.0, 8.0)), ["pixels of 5 mm, in training 1.4 to 1.6"]),
        (facts(spacing=(1.4, 1.4, 20.0)), ["slices 20 mm apart, in training 8 to 10"]),
        (facts((256, 256, 1), (1.4, 1.4, 20.0)), []),  # one slice is not apart from others
        (facts(spacing=None), []),
        (facts(intensities=CT), ["negative intensities, as of CT, in training none"]),
        (facts(intensities=(-30.0, -10.0, 100.0, 900.0, 2000.0)), []),  # an interpolation that overshoots
        (facts(intensities=(0.0, 1.0, 9000.0, 30000.0, 65535.0)), []),  # scaled by its own percentiles
    ],
)  # fmt: skip
def test_what_is_beyond_half_as_much_again_is_named(scan, phrases):
    assert outside(RANGES, scan) == phrases


def test_unknown_spacings_of_the_training_are_not_compared_and_its_negative_intensities_allow_others():
    ranges = ranges_of([facts(spacing=None, intensities=(-1024.0, -1000.0, 0.0, 900.0, 1000.0))])
    assert ranges["in_plane_mm"] is None and ranges["negative"]
    assert outside(ranges, facts(spacing=(5.0, 5.0, 50.0), intensities=(-1024.0, -1000.0, 0.0, 900.0, 1000.0))) == []


def test_networks_that_are_used_together_know_what_each_of_them_knows():
    other = ranges_of([facts((512, 512, 10), None, (-100.0, -90.0, 0.0, 90.0, 100.0))])
    both = joined([RANGES, other])
    assert both["rows"] == [216, 512] and both["in_plane_mm"] == [1.4, 1.6] and both["negative"]
    assert joined([RANGES, None]) is None and joined([]) is None


def test_a_damaged_file_is_not_complete():
    assert training_ranges.is_complete(json.loads(json.dumps(RANGES)))
    for key, value in (("rows", None), ("rows", [1]), ("rows", ["1", 2]), ("images", "3"), ("negative", 0)):
        assert training_ranges.is_complete(RANGES | {key: value}) == (value is None)
    assert not training_ranges.is_complete({})


def test_a_scan_that_is_read_has_the_facts_that_its_training_would_take(phantom_records):
    counts = Counts(fingerprint=Fingerprint())
    check.check_records(phantom_records[:1], progress=list, counts=counts)
    (case,) = counts.fingerprint.cases
    size, spacing, intensities = facts_of(volumes.read(phantom_records[0].image), False)
    assert size == case.size and intensities == case.intensities and spacing == pytest.approx(case.spacing_mm)
    picture = Volume(np.ones((30, 40, 1, 1)), np.eye(4))
    assert facts_of(picture, True)[:2] == ((30, 40, 1), None)


def test_a_training_takes_the_ranges_of_what_it_is_trained_on_and_keeps_them(phantom_records, tmp_path, monkeypatch):
    trained = phantom_records[:4]
    settings = {"folder": tmp_path, "dataset": "phantom", "trained_on": trained}
    ranges = check.before_training(phantom_records, **settings)
    assert ranges["images"] == 4 and ranges["rows"] == [32, 32] and ranges["in_plane_mm"] is not None
    monkeypatch.setattr(check, "_without_faults", lambda *_: pytest.fail("it was read again"))
    assert check.before_training(phantom_records, **settings) == ranges
    assert check.before_training(phantom_records, folder=tmp_path, dataset="phantom") is None
    training_ranges.remember_ranges(ranges, tmp_path / "models")
    assert json.loads((tmp_path / "models/fingerprint.json").read_text()) == ranges
    training_ranges.remember_ranges(None, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_record_of_a_check_of_an_earlier_version_is_made_anew(phantom_records, tmp_path):
    check.before_training(phantom_records[:2], tmp_path, "phantom")
    (stamp,) = tmp_path.glob("checked-*.json")
    stamp.write_text("[]")
    ranges = check.before_training(phantom_records[:2], tmp_path, "phantom", phantom_records[:2])
    assert ranges["images"] == 2 and len(json.loads(stamp.read_text())["facts"]) == 2


@pytest.mark.slow
@pytest.mark.skipif(not ACDC.is_dir(), reason="no real ACDC beside this clone")
@pytest.mark.parametrize("labelled", [7, 70])
def test_real_validation_patients_are_not_named_and_a_ct_large_pixels_and_a_phantom_are(tmp_path, labelled):
    train, validation = ((ACDC / f"splits/{part}.txt").read_text().split() for part in ("train", "val"))
    records = acdc.records(ACDC / "training")
    phantom.write(tmp_path / "phantom", patients=1, size=(96, 96, 8))
    counts = Counts(fingerprint=Fingerprint())
    wanted = {*train[:labelled], *validation}
    chosen = [record for record in records if record.patient in wanted] + acdc.records(tmp_path / "phantom")
    check.check_records(chosen, progress=list, counts=counts)
    by_patient = [
        (case.record, Facts(case.size, case.spacing_mm, case.intensities)) for case in counts.fingerprint.cases
    ]
    root = str(ACDC)
    ranges = ranges_of(
        case for record, case in by_patient if record.patient in train[:labelled] and root in str(record.image)
    )
    named = [outside(ranges, case) for record, case in by_patient if record.patient in validation]
    assert len(named) == 20 and sum(map(bool, named)) <= 1, named
    (drawn, *_) = [case for record, case in by_patient if root not in str(record.image)]
    assert outside(ranges, drawn)
    heart = next(case for record, case in by_patient if record.patient in validation)
    assert outside(ranges, heart._replace(intensities=(-1024.0, -1000.0, -200.0, 800.0, 1500.0)))
    assert outside(ranges, heart._replace(size=(70, 70, 10), spacing_mm=(5.0, 5.0, 8.0)))
