"""Folders of a phantom, predicted and evaluated, for each test to change."""

import copy
import shutil
from pathlib import Path

import pytest
from report_folder import Run


@pytest.fixture(scope="session")
def built(phantom_dir, tmp_path_factory) -> Run:
    """Three patients, predicted and evaluated; each test works on a copy."""
    return Run(phantom_dir, tmp_path_factory.mktemp("report") / "ours", 3)


@pytest.fixture
def plotted(built, tmp_path) -> Run:
    copied = copy.deepcopy(built)
    copied.out = Path(shutil.copytree(built.out, tmp_path / "ours"))
    return copied


@pytest.fixture
def run(plotted) -> Run:
    """Without true indices, whose plots take the most time."""
    plotted.evaluation["patients"] = []
    return plotted
