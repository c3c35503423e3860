"""The worked example of CONTRIBUTING.md, as it stands there."""

import re
from pathlib import Path

import torch
import yaml

from tests.config.test_bundle import TINY, workflow

ROOT = Path(__file__).parents[1]


def example(language: str) -> str:
    """The one block of this language."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (block,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return block


def test_the_method_in_contributing_trains(tmp_path, phantom_dir, monkeypatch):
    (tmp_path / "my_method.py").write_text(example("python"))
    (tmp_path / "my_method.yaml").write_text(example("yaml"))
    monkeypatch.syspath_prepend(tmp_path)
    settings = TINY | {"dataset_dir": str(phantom_dir), "output_dir": str(tmp_path / "run"), "steps_per_epoch": 3}
    flow = workflow(tmp_path / "my_method.yaml", **settings)
    flow.initialize()
    flow.run()
    head, row = (tmp_path / "run" / "learning_curve.csv").read_text().splitlines()
    terms = dict(zip(head.split(","), map(float, row.split(",")), strict=True))
    assert set(yaml.safe_load(example("yaml"))["weights"]) < set(terms)
    assert 0 < terms["entropy"] <= torch.log(torch.tensor(4.0)) + 1e-6
    assert (tmp_path / "run" / "models" / "model.pt").is_file()
