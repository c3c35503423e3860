"""docs/tutorial.ipynb runs from its first cell to its last, and holds what it printed and drew."""

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest
from processes import run

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"


def _tutorial():
    """The module docs/tutorial.py."""
    spec = importlib.util.spec_from_file_location("tutorial", ROOT / "docs" / "tutorial.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _command(words, cwd, **settings):
    """A command of the notebook, in a process that has its libraries already."""
    done = run(*words[1:], check=False, cwd=Path(cwd).resolve())
    return subprocess.CompletedProcess(words, done.returncode, done.stdout + done.stderr)


@pytest.mark.slow
def test_every_cell_runs_and_draws_as_the_notebook_shows(tmp_path, monkeypatch):
    tutorial = _tutorial()
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", _command)
    monkeypatch.setattr(tutorial.plt, "show", tutorial.plt.show)  # which the cells' runner replaces
    names = {"__name__": "__main__"}
    text = "".join(line for cell in cells for line in cell["source"])
    assert all(part in text for part in tutorial.SHORTER)
    for cell in cells:
        outputs = tutorial.outputs_of(tutorial.shorter("".join(cell["source"])), names)
        kinds = [output["output_type"] for output in outputs]
        assert kinds == [output["output_type"] for output in cell["outputs"]]
    assert (tmp_path / "tutorial" / "segmented" / "report.html").is_file()
    assert names["second"].labels.shape == names["before"].labels.shape
