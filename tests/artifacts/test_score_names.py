"""Files of earlier versions, in which some scores without a truth have other names."""

import hashlib
import json
import zipfile
from pathlib import Path

import pytest

from acdc_semicycle.artifacts import weights
from acdc_semicycle.artifacts.model import open_model
from acdc_semicycle.artifacts.score_names import current_predictions, current_quality
from acdc_semicycle.methods.networks import ResidualGenerator

OLD = {
    "chosen": "sure",
    "weights": {"sure": 4.4},
    "bias": -3.3,
    "threshold": 0.5,
    "fits": {"cycle": {"weights": {"cycle": 1}, "bias": 0}, "sum": {"weights": {"alike": 1, "again": 2}, "bias": 0}},
    "measured": {"alike": {"spearman": 0.5}, "again": {"spearman": 0.6}, "sum": {"spearman": 0.7}},
    "test": {"cases": 4, "nothing_found": 1, "sure": {"spearman": 0.8}},
    "about": "Expected mean Dice by 'sure', fitted on 16 validation cases.",
}
NEW = {
    "chosen": "soft_dice",
    "weights": {"soft_dice": 4.4},
    "bias": -3.3,
    "threshold": 0.5,
    "fits": {
        "cycle": {"weights": {"cycle": 1}, "bias": 0},
        "sum": {"weights": {"cycle_correlation": 1, "cycle_dice": 2}, "bias": 0},
    },
    "measured": {
        "cycle_correlation": {"spearman": 0.5},
        "cycle_dice": {"spearman": 0.6},
        "sum": {"spearman": 0.7},
    },
    "test": {"cases": 4, "nothing_found": 1, "soft_dice": {"spearman": 0.8}},
    "about": "Expected mean Dice by 'soft_dice', fitted on 16 validation cases.",
}


def zipped(model: Path) -> Path:
    """The model's folder as `semicycle export` packs it."""
    members = {f"models/{path.name}": path.read_bytes() for path in model.parent.iterdir()}
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in members.items())
    with zipfile.ZipFile(model.parents[1] / "bundle.zip", "w") as archive:
        for name, content in (members | {"SHA256SUMS": sums.encode()}).items():
            archive.writestr(f"bundle/{name}", content)
    return model.parents[1] / "bundle.zip"


@pytest.mark.parametrize("packed", [False, True])
def test_an_old_quality_json_is_understood_beside_its_network_and_in_a_zip(tmp_path, packed):
    model = tmp_path / "models" / "model.pt"
    weights.save(model, ResidualGenerator(1, 4, filters=2, blocks=1).state_dict())
    model.with_suffix(".json").write_text(json.dumps({"filters": 2, "blocks": 1}))
    model.with_name("quality.json").write_text(json.dumps(OLD))
    assert open_model(zipped(model) if packed else model).quality == NEW


def test_an_old_predictions_json_is_understood():
    case = {"case": "sure", "frame_scores": [{"sure": 0.9, "cycle": 0.8}, {"again": None}], "slices": {"alike": [0.7]}}
    assert current_predictions({"cases": [case], "quality": OLD, "settings": {"again": 1}}) == {
        "cases": [
            {
                "case": "sure",
                "frame_scores": [{"soft_dice": 0.9, "cycle": 0.8}, {"cycle_dice": None}],
                "slices": {"cycle_correlation": [0.7]},
            }
        ],
        "quality": NEW,
        "settings": {"again": 1},
    }


def test_current_names_and_missing_parts_stay_as_they_are():
    assert current_quality(NEW) == NEW and current_quality({}) == {}
    for content in (
        {"cases": None, "quality": None},
        {"cases": [None, {}, {"frame_scores": None, "slices": None}, {"frame_scores": [None]}]},
        {"quality": {"weights": None, "fits": {"cycle": None}, "chosen": None, "about": None}},
    ):
        assert current_predictions(content) == content
