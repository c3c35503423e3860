"""A small network for the tests of a prediction."""

import json
from pathlib import Path

import pytest
import torch

from acdc_semicycle.artifacts import weights as weight_files
from acdc_semicycle.methods.networks import ResidualGenerator


@pytest.fixture
def model(tmp_path) -> Path:
    """A small network with its card, as training leaves them; not trained."""
    torch.manual_seed(0)
    path = tmp_path / "models" / "model.pt"
    weight_files.save(path, ResidualGenerator(1, 4, filters=2, blocks=1).state_dict())
    path.with_suffix(".json").write_text(json.dumps({"filters": 2, "blocks": 1, "image_size": [24, 32]}))
    return path
