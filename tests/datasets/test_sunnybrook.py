"""Sunnybrook annotates one cavity: what else its masks may say, and hearts painted over its slices."""

import platform
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import center_of_mass

from acdc_semicycle.datasets import pretraining, sunnybrook
from acdc_semicycle.imageio.pictures import IGNORED
from acdc_semicycle.runtime.errors import InputError

NAMES = ("SC-N-02_IM-0001-0048", "SC-N-02_IM-0001-0059", "SC-N-40_IM-0002-0010")  # the last patient is left out


@pytest.fixture
def root(tmp_path):
    """Three slices: a bright disc in a grey body, left of the middle and above it."""
    random = np.random.default_rng(0)
    rows, columns = np.indices((256, 256))
    for number, name in enumerate(NAMES):
        cavity = np.hypot(rows - 90, columns - 120) < 15 + number
        image = np.where(cavity, 180, np.where(np.hypot(rows - 128, columns - 128) < 120, 60, 5))
        image = np.clip(image + random.normal(0, 4, image.shape), 1, 255).astype(np.uint8)
        for folder, pixels in (("images", image), ("masks", (255 * cavity).astype(np.uint8))):
            (tmp_path / "sunnybrook" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "sunnybrook" / folder / f"{name}.png")
    return tmp_path / "sunnybrook"


def test_slices_are_laid_out_as_scans_are(root):
    first = sunnybrook.slices(root)[0]
    assert (first.name, first.patient) == ("SC-N-02_IM-0001-0048", "SC-N-02")
    assert np.allclose(center_of_mass(first.cavity), (120, 90)), "across, then down"
    assert first.image[120, 90] > 150


def test_a_mask_says_what_its_cavity_tells_and_no_more(root):
    cavity = sunnybrook.slices(root)[0].cavity
    mask = sunnybrook.known(cavity)
    assert set(np.unique(mask)) == {0, 2, 3, IGNORED}
    assert np.array_equal(mask == 3, cavity)
    across = mask[:, 90]
    assert across[120 + 15 : 120 + 18].tolist() == [2, 2, 2] and across[120 + 18] == IGNORED
    assert across[120 + 72] == IGNORED and across[120 + 73] == 0


def test_a_phantoms_left_ventricle_lies_on_the_real_one(root):
    real = sunnybrook.slices(root)[0]
    at_the_cavity = 0
    for number in range(30):
        image, mask = sunnybrook.mixed(np.random.default_rng(number), real)
        assert image.shape == mask.shape == (256, 256) and image.min() >= 0
        corner = image[:20, :20] - sunnybrook.GAIN * real.image[:20, :20]
        assert abs(corner.mean()) < 60, "the real body is seen around it"
        if (mask == 3).sum() > 200:
            at_the_cavity += 1
            assert np.hypot(*np.subtract(center_of_mass(mask == 3), (120, 90))) < 5
    assert at_the_cavity > 8


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: [path.unlink() for path in (root / "images").iterdir()], "holds no images"),
        (lambda root: (root / "masks" / f"{NAMES[1]}.png").unlink(), "cannot be read"),
        (lambda root: (root / "images" / f"{NAMES[1]}.png").write_bytes(b"no picture"), "cannot be read"),
        (
            lambda root: Image.new("L", (64, 64)).save(root / "images" / f"{NAMES[1]}.png"),
            "64 x 64, expected 256 x 256",
        ),
        (lambda root: Image.new("L", (256, 256)).save(root / "masks" / f"{NAMES[1]}.png"), "is empty"),
        (
            lambda root: Image.new("L", (256, 256), 255).save(root / "masks" / f"{NAMES[1]}.png"),
            "is above 0 in 100% of its pixels",
        ),
        (lambda root: Image.new("L", (256, 256)).save(root / "images" / f"{NAMES[1]}.png"), "is black"),
    ],
)
def test_what_is_no_sunnybrook_is_refused_in_a_line(root, spoil, message):
    spoil(root)
    with pytest.raises(InputError, match=message):
        sunnybrook.slices(root)


def test_patients_that_are_left_out_are_never_trained_on(root, tmp_path):
    records = pretraining.records(root, tmp_path / "drawn", count=6)
    left_out = [record for record in records if record.part == "testing"]
    assert [record.case for record in left_out] == [f"left-out-{NAMES[2]}"]
    trained = [record.case for record in records if record.part == "training"]
    assert not [case for case in trained if NAMES[2] in case]
    assert len(trained) == 6 + 2 * 2, "the drawn ones, and two of each real one"
    assert all(record.image.is_file() and record.label.is_file() for record in records)


def test_what_is_drawn_is_drawn_once_and_not_mistaken_for_another(root, tmp_path):
    first = pretraining.records(root, tmp_path / "drawn", count=3)
    times = [record.image.stat().st_mtime_ns for record in first]
    again = pretraining.records(root, tmp_path / "drawn", count=3)
    assert again == first and [record.image.stat().st_mtime_ns for record in again] == times
    with pytest.raises(InputError, match="holds something else"):
        pretraining.records(root, tmp_path / "drawn", count=4)
    with pytest.raises(InputError, match="dataset_dir is empty"):
        pretraining.records(None, tmp_path / "other")


def test_a_users_scans_keep_no_mask_and_phantoms_lie_beside_them(phantom_dir, tmp_path):
    records = pretraining.unannotated(phantom_dir / "training", "(patient[0-9]+)", tmp_path / "phantoms", count=4)
    phantoms = [record for record in records if record.case.startswith("phantom-")]
    scans = [record for record in records if record not in phantoms]
    assert len(phantoms) == 4 and all(record.label.is_file() for record in phantoms)
    assert len(scans) == 16 and {record.patient for record in scans} == {f"patient{n:03d}" for n in range(1, 9)}
    assert all(record.label is None for record in scans)
    again = pretraining.unannotated(phantom_dir / "training", "(patient[0-9]+)", tmp_path / "phantoms", count=4)
    assert again == records
    with pytest.raises(InputError, match="holds something else"):
        pretraining.unannotated(phantom_dir / "training", None, tmp_path / "phantoms", count=5)


def test_scans_of_which_none_has_a_mask_are_taken(phantom_dir, tmp_path):
    (tmp_path / "scans").mkdir()
    for path in (phantom_dir / "training").glob("*/*_frame??.nii.gz"):
        (tmp_path / "scans" / path.name).symlink_to(path)
    records = pretraining.unannotated(tmp_path / "scans", "(patient[0-9]+)", tmp_path / "phantoms", count=1)
    assert [record.label is None for record in records] == [True] * 16 + [False]


def test_what_a_killed_drawing_left_is_removed_by_the_next_one(root, tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = tmp_path / "run" / f".drawn-{platform.node()}-{ended.pid}-x" / "drawn" / "images"
    left.mkdir(parents=True)
    pretraining.records(root, tmp_path / "run" / "drawn", count=1)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["drawn"]


@pytest.mark.parametrize("drawn", [0, -3, "x", 2.5, True, None])
def test_a_number_of_slices_that_is_none_is_refused_before_anything_is_written(root, phantom_dir, tmp_path, drawn):
    with pytest.raises(InputError, match=r"drawn is .*: give a whole number of at least 1"):
        pretraining.records(root, tmp_path / "drawn", count=drawn)
    with pytest.raises(InputError, match=r"drawn is .*: give a whole number of at least 1"):
        pretraining.unannotated(phantom_dir / "training", None, tmp_path / "drawn", count=drawn)
    with pytest.raises(InputError, match="drawn_seed is -1: give a whole number of at least 0"):
        pretraining.records(root, tmp_path / "drawn", count=3, seed=-1)
    assert not (tmp_path / "drawn").exists()


def test_patients_of_the_test_alone_are_nothing_to_train_on(root, tmp_path):
    for name in NAMES[:2]:
        (root / "images" / f"{name}.png").unlink()
    with pytest.raises(InputError, match=r"holds patients of the test alone, SC-HF-I-04, .*: give all patients"):
        pretraining.records(root, tmp_path / "drawn", count=3)


def test_masks_beside_scans_without_any_are_not_even_paired(phantom_dir, tmp_path):
    source = next((phantom_dir / "training").glob("*/*_frame01.nii.gz"))
    for name in ("a.nii.gz", "a_gt.nii.gz", "a_seg.nii.gz", "b_gt.nii.gz"):
        (tmp_path / "scans").mkdir(exist_ok=True)
        (tmp_path / "scans" / name).symlink_to(source)
    records = pretraining.unannotated(tmp_path / "scans", None, tmp_path / "phantoms", count=1)
    assert [record.case for record in records] == ["a", "phantom-00000"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no image"):
        pretraining.unannotated(tmp_path / "empty", None, tmp_path / "phantoms", count=1)
