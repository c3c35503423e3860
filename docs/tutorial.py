"""Runs docs/tutorial.ipynb in a new folder, and writes what its cells print and draw into it.

    python docs/tutorial.py [--check]

With ``--check`` the trainings have a few steps of fewer patients, and the notebook stays as it is: a test runs this.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

NOTEBOOK = Path(__file__).with_suffix(".ipynb")
SHORTER = {
    'training = "--epochs 3"': 'training = "--epochs 2 --steps_per_epoch 2"',
    "patients=15": "patients=7",
    "number < 12": "number < 6",
}
DPI = 60


def main() -> None:
    """Run all cells in one namespace, in a folder of their own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="short trainings; the notebook is not written")
    is_check = parser.parse_args().check
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    names: dict[str, Any] = {"__name__": "__main__"}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        for number, cell in enumerate(cells, start=1):
            source = "".join(cell["source"])
            if is_check:
                source = shorter(source)
            cell["execution_count"], cell["outputs"] = number, outputs_of(source, names)
        os.chdir("/")
    if is_check:
        drawn = sum(output["output_type"] == "display_data" for cell in cells for output in cell["outputs"])
        print(f"{len(cells)} cells ran, {drawn} pictures were drawn")
    else:
        NOTEBOOK.write_text(json.dumps(notebook, indent=1) + "\n", encoding="utf-8")


def shorter(source: str) -> str:
    """A cell with shorter trainings and fewer patients."""
    for text, replacement in SHORTER.items():
        source = source.replace(text, replacement)
    return source


def outputs_of(source: str, names: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a cell; its text, then its pictures, as a notebook holds them."""
    outputs: list[dict[str, Any]] = []

    def keep_picture() -> None:
        stream = io.BytesIO()
        plt.savefig(stream, format="png", dpi=DPI, bbox_inches="tight")
        plt.close("all")
        picture = base64.b64encode(stream.getvalue()).decode()
        outputs.append({"output_type": "display_data", "metadata": {}, "data": {"image/png": picture}})

    text = io.StringIO()
    plt.show = keep_picture
    with contextlib.redirect_stdout(text):
        exec(compile(source, str(NOTEBOOK), "exec"), names)  # the notebook of this repository
    if text.getvalue():
        lines = text.getvalue().splitlines(keepends=True)
        outputs.insert(0, {"output_type": "stream", "name": "stdout", "text": lines})
    return outputs


if __name__ == "__main__":
    main()
