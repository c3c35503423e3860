"""The report of a cine that was evaluated: each of its frames is a case, shown with its own voxels."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from acdc_semicycle.evaluation.compare import compare
from acdc_semicycle.evaluation.windowing import to_grey, window_of
from acdc_semicycle.report.case_images import Slice, slices_of
from acdc_semicycle.report.cases import Case
from acdc_semicycle.report.content import content_of

CLASSES = ["background", "square"]
FRAMES = (1, 3)  # those that are annotated, of four


def write(path: Path, voxels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.4, 1.4, 8.0, 1.0])), path)
    return path


def squares() -> np.ndarray:
    """Masks [16, 12, 3, 4]: a square in frame 2, a larger one in frame 4."""
    masks = np.zeros((16, 12, 3, 4), np.uint8)
    masks[4:9, 4:9, :, 1] = 1
    masks[2:12, 3:9, :, 3] = 1
    return masks


def scan() -> np.ndarray:
    """Noise that is another one in each frame."""
    return np.random.default_rng(0).integers(0, 1000, (16, 12, 3, 4)).astype(np.int16)


@pytest.fixture
def evaluated(tmp_path) -> tuple[Path, dict]:
    """A predicted cine, its scan and its 4D truth; the tool also finds something in frame 1, where nothing is drawn."""
    predicted = squares()
    predicted[0:3, 0:3, :, 0] = 1
    write(tmp_path / "out" / "p0_seg.nii.gz", predicted)
    write(tmp_path / "scans" / "p0.nii.gz", scan())
    write(tmp_path / "truth" / "p0_gt.nii.gz", squares())
    case = {
        "case": "p0", "mask": "p0_seg.nii.gz", "scan": str(tmp_path / "scans" / "p0.nii.gz"), "patient": "p0",
        "phase": None, "frames": 4, "phases": None, "quality": 0.9, "volumes_ml": None,
    }  # fmt: skip
    return tmp_path / "out", {"cases": [case], "classes": CLASSES}


def cases(folder: Path, predicted: dict, truth: Path) -> list[Case]:
    (folder / "predictions.json").write_text(json.dumps(predicted))
    content = compare([folder], truth, CLASSES)
    assert not content["missing"] and not content["failures"]
    found = content_of(folder, predicted, content)["cases"]
    return sorted((case for case in found if case.scored), key=lambda case: case.name)


def check_shows(shown: Slice, frame: int) -> None:
    """The voxels of this frame of image, prediction and truth, turned as a radiologist sees them."""
    image, mask = (voxels[..., shown.slice_index, frame].T[::-1, ::-1] for voxels in (scan(), squares()))
    grey = to_grey(image.astype(np.float32), window_of(scan()[..., frame].astype(np.float32)))
    np.testing.assert_array_equal(shown.prediction, mask)
    np.testing.assert_array_equal(shown.truth, mask)
    np.testing.assert_array_equal(shown.image, grey)


def test_a_frame_of_a_cine_is_shown_with_its_own_voxels(evaluated, tmp_path):
    folder, predicted = evaluated
    for frame, case in zip(FRAMES, cases(folder, predicted, tmp_path / "truth"), strict=True):
        assert (case.name, case.scored["frame"]) == (f"p0_frame{frame + 1:02d}", frame)
        check_shows(slices_of(folder, case)[0], frame)


def test_a_frame_of_a_predicted_cine_is_shown_with_its_3d_truth(evaluated, tmp_path):
    folder, predicted = evaluated
    for frame in FRAMES:
        write(tmp_path / "frames" / f"p0_frame{frame + 1:02d}_gt.nii.gz", squares()[..., frame])
    for frame, case in zip(FRAMES, cases(folder, predicted, tmp_path / "frames"), strict=True):
        assert case.scored["frame"] == frame
        check_shows(slices_of(folder, case)[0], frame)


def test_a_3d_prediction_of_a_frame_is_shown_with_its_frame_of_a_4d_truth(tmp_path):
    for frame in FRAMES:
        write(tmp_path / "out" / f"p0_frame{frame + 1:02d}_seg.nii.gz", squares()[..., frame])
    write(tmp_path / "truth" / "p0_gt.nii.gz", squares())
    rows = compare([tmp_path / "out"], tmp_path / "truth", CLASSES)["cases"]
    assert [row["frame"] for row in rows] == list(FRAMES)
    for frame, row in zip(FRAMES, rows, strict=True):
        shown = slices_of(tmp_path / "out", Case(row["case"], scored=row | {"image": str(scan_file(tmp_path))}))
        check_shows(shown[0], frame)


def scan_file(root: Path) -> Path:
    return write(root / "scans" / "p0.nii.gz", scan())


def test_a_3d_case_has_no_frame(tmp_path):
    for name in ("out/a_seg", "truth/a_gt"):
        write(tmp_path / f"{name}.nii.gz", squares()[..., 1])
    (row,) = compare([tmp_path / "out"], tmp_path / "truth", CLASSES)["cases"]
    assert row["frame"] is None


def panel(folder: Path, frame: int, number: int | None = None) -> str:
    """A panel as predict keeps it, of one frame, whose image is 7 everywhere; ``number`` is the frame's in the scan."""
    number = frame if number is None else number
    arrays = {"places": np.array([1]), "frame": np.array(number), "turned": np.array(True)}
    prediction = squares()[..., 1, frame].T[::-1, ::-1]
    path = folder / ".panels" / "p0.npz"
    path.parent.mkdir()
    np.savez(path, **arrays, image_0=np.full(prediction.shape, 7, np.uint8), prediction_0=prediction)
    return ".panels/p0.npz"


def test_the_panel_of_a_cine_is_shown_for_its_own_frame_alone(evaluated, tmp_path):
    folder, predicted = evaluated
    predicted["cases"][0]["panel"] = panel(folder, FRAMES[1])
    content = compare([folder], tmp_path / "truth", CLASSES)
    first, second = (Case(row["case"], predicted["cases"][0], row) for row in content["cases"])
    check_shows(slices_of(folder, first)[0], FRAMES[0])
    (shown,) = slices_of(folder, second)
    assert (shown.image == 7).all()
    np.testing.assert_array_equal(shown.truth, shown.prediction)


def test_the_panel_of_a_3d_scan_is_shown_with_its_frame_of_a_4d_truth(tmp_path):
    write(tmp_path / "out" / "p0_frame04_seg.nii.gz", squares()[..., 3])
    write(tmp_path / "truth" / "p0_gt.nii.gz", squares())
    (row,) = compare([tmp_path / "out"], tmp_path / "truth", CLASSES)["cases"]
    predicted = {"case": "p0_frame04", "frames": 1, "panel": panel(tmp_path / "out", 3, number=0)}
    (shown,) = slices_of(tmp_path / "out", Case(row["case"], predicted, row))
    assert (shown.image == 7).all()
    np.testing.assert_array_equal(shown.truth, shown.prediction)


def test_one_phase_of_a_cine_is_shown_with_its_3d_truth(tmp_path):
    """As predict --frames ed_es leaves it: a 3D mask, and a panel that holds the frame's number in the scan."""
    write(tmp_path / "out" / "p0_ES_seg.nii.gz", squares()[..., FRAMES[1]])
    truth = write(tmp_path / "truth" / "p0_ES_gt.nii.gz", squares()[..., FRAMES[1]])
    predicted = {"case": "p0_ES", "frames": 1, "phases": None, "panel": panel(tmp_path / "out", FRAMES[1])}
    row = {"case": "p0_ES", "phase": "ES", "frame": None, "truth": str(truth)}
    (shown,) = slices_of(tmp_path / "out", Case("p0_ES", predicted, row))
    np.testing.assert_array_equal(shown.truth, shown.prediction)
    predicted = {"case": "p0_ES", "frames": 1, "mask": "p0_ES_seg.nii.gz", "scan": str(scan_file(tmp_path))}
    shown = slices_of(tmp_path / "out", Case("p0_ES", predicted, row))[0]
    assert not shown.image.any(), "which frame of the scan it is, is unknown"


def test_a_cine_that_was_evaluated_is_listed_by_its_frames_alone_with_what_was_predicted_of_it(evaluated, tmp_path):
    folder, predicted = evaluated
    (folder / "predictions.json").write_text(json.dumps(predicted))
    content = compare([folder], tmp_path / "truth", CLASSES)
    listed = content_of(folder, predicted, content)["cases"]
    assert [case.name for case in listed] == ["p0_frame02", "p0_frame04"]
    assert [(case.score("dice"), case.quality) for case in listed] == [(1.0, 0.9)] * 2
    assert [case.predicted for case in listed] == predicted["cases"] * 2


def test_a_cine_is_joined_under_the_name_that_predict_gave_it(evaluated, tmp_path):
    """The case of predictions.json has a folder before it, which the files' names lack."""
    folder, predicted = evaluated
    predicted["cases"][0]["case"] = "site/p0"
    (folder / "predictions.json").write_text(json.dumps(predicted))
    content = compare([folder], tmp_path / "truth", CLASSES)
    assert [case.quality for case in content_of(folder, predicted, content)["cases"]] == [0.9, 0.9]


def test_frames_of_a_second_tool_are_joined_with_those_of_the_first(evaluated, tmp_path):
    folder, predicted = evaluated
    (folder / "predictions.json").write_text(json.dumps(predicted))
    write(tmp_path / "other" / "p0_seg.nii.gz", squares())
    content = compare([folder, tmp_path / "other"], tmp_path / "truth", CLASSES)
    listed = content_of(folder, predicted, content)["cases"]
    assert [(case.name, case.quality, bool(case.second)) for case in listed] == [
        ("p0_frame02", 0.9, True),
        ("p0_frame04", 0.9, True),
    ]


def test_without_predictions_json_a_row_names_no_predicted_case(tmp_path):
    for name in ("out/a_seg", "truth/a_gt"):
        write(tmp_path / f"{name}.nii.gz", squares()[..., 1])
    (row,) = compare([tmp_path / "out"], tmp_path / "truth", CLASSES)["cases"]
    assert row["predicted_case"] is None
