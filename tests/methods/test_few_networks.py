"""few.yaml on scans and on pictures: which mirror images it takes, and colour pictures of several objects."""

from pathlib import Path

import numpy as np
import pytest
from monai.bundle import ConfigWorkflow
from PIL import Image

from tests.methods import few_runs

INFERENCE = few_runs.ROOT / "bundles" / "semicycle" / "configs" / "inference.json"
CLASSES = ["ground", "disc", "bar"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> dict:
    """Folders of six colour pictures and of the masks of four of them, as settings of own_pictures.yaml."""
    root, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    folders = {"images": root / "images", "masks": root / "masks"}
    for folder in folders.values():
        folder.mkdir()
    for number in range(6):
        mask = np.zeros((48, 72), np.uint8)
        mask[8 + number : 24, 10:30], mask[30:40, 50:70] = 1, 2
        colours = np.array([[90, 140, 60], [200, 40, 40], [40, 60, 220]])[mask] + random.normal(0, 8, (48, 72, 3))
        Image.fromarray(colours.clip(0, 255).astype(np.uint8)).save(folders["images"] / f"p{number}.png")
        if number < 4:
            Image.fromarray(mask).save(folders["masks"] / f"p{number}.png")
    return {name: str(folder) for name, folder in folders.items()} | {"classes": CLASSES}


def test_photographs_are_mirrored_left_to_right_and_scans_are_turned(tmp_path, phantom_dir, pictures):
    for overlays, settings, flips, turns in (
        ([], {}, [0, 0], 0.25),
        (["own_pictures"], pictures, [0, 0.5], 0),
    ):
        parser = few_runs.workflow(tmp_path / "run", phantom_dir, *overlays, **settings).parser
        augment = parser.get_parsed_content("train::augment")
        assert (list(augment.flips), augment.turns) == (flips, turns)
        assert parser.get_parsed_content("train::views")["strong"].flips == augment.flips


def test_it_learns_colour_pictures_and_segments_one(tmp_path, phantom_dir, pictures):
    settings = pictures | {"epochs": 1, "labelled": 2, "objective_def::start": 1, "validation": 1, "test": 0}
    few_runs.train(tmp_path / "run", phantom_dir, "own_pictures", **settings)
    picture = Path(pictures["images"]) / "p5.png"
    flow = ConfigWorkflow(
        str(INFERENCE), workflow_type="infer", logging_file=False, input=picture, output_dir=tmp_path / "out",
        checkpoint=tmp_path / "run", device="cpu",
    )  # fmt: skip
    flow.initialize()
    assert flow.parser.get_parsed_content("inferer").noise == 0
    flow.run()
    flow.finalize()
    (segmented,) = (tmp_path / "out").glob("*_seg.png")
    assert np.asarray(Image.open(segmented)).shape == (48, 72)
