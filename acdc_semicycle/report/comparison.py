"""Training runs side by side: comparison.html, comparison.csv and comparison.json.

``semicycle compare`` reads what each run left in its folder; nothing is trained or scored anew.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from PIL import Image

from acdc_semicycle.data.parts import in_words
from acdc_semicycle.experiments.run_record import read_run
from acdc_semicycle.experiments.run_search import runs_of, unique_names
from acdc_semicycle.report import comparison_table
from acdc_semicycle.report.comparison_curves import figure_of
from acdc_semicycle.report.comparison_rows import TITLES, content_of
from acdc_semicycle.report.drawing import uri
from acdc_semicycle.report.plots import DPI
from acdc_semicycle.report.templates import GENERATOR, encoded, environment
from acdc_semicycle.runtime.files import MADE_HERE, check_folder, check_ours, write_bytes
from acdc_semicycle.runtime.provenance import plain, provenance

OURS = (  # each file with what marks it as written here
    ("comparison.html", GENERATOR),
    ("comparison.json", '"comparison_of"', MADE_HERE),
    ("comparison.csv", "run,folder,dataset,method,"),
)
FEW, SHORT = 3, 60  # so many runs are named in the title, if their names have no more characters together


def compare(paths: Sequence[Path], folder: Path) -> tuple[str, bool]:
    """Compare runs, and write comparison.html, comparison.csv and comparison.json.

    Args:
        paths: runs' folders, folders of folds, or folders that hold such.
        folder: where the files go; those of an earlier comparison are replaced.

    Returns:
        The tables as lines of text, and whether a file of a run could not be read.

    Raises:
        InputError: a path holds no run, or the folder has files of these names that are not of this program.
    """
    folders = runs_of(paths)
    if folder.exists():
        check_folder(folder)
    for name, *signs in OURS:
        check_ours(folder / name, *signs)
    names = unique_names(folders)
    runs = [read_run(run, name) for run, name in zip(folders, names, strict=True)]
    content = plain(content_of(runs) | provenance())
    page = environment().get_template("comparison.html").render(content | _shown(content))
    check_folder(folder)
    write_bytes(folder / "comparison.json", encoded(json.dumps(content, indent=1) + "\n"))
    write_bytes(folder / "comparison.csv", encoded(comparison_table.csv_of(content)))
    write_bytes(folder / "comparison.html", encoded(page))
    return comparison_table.table(content), bool(content["failures"])


def _shown(content: dict[str, Any]) -> dict[str, Any]:
    """What only the page has: title, cells as texts, the picture of the curves."""
    rows, score = content["runs"], content["score"]
    names = [row["run"] for row in rows]
    named = len(names) <= FEW and sum(map(len, names)) <= SHORT
    figure = figure_of(content["curves"], score)
    return {
        "title": in_words(names) if named else f"{len(names)} runs",
        "written": datetime.now().astimezone().isoformat(" ", "minutes"),
        "run_heads": comparison_table.RUN_HEADS,
        "run_cells": [comparison_table.run_cells(row) for row in rows],
        "score_title": TITLES[score],
        "figure": uri(figure) if figure else None,
        "figure_width": round(Image.open(io.BytesIO(figure)).width * 96 / DPI) if figure else 0,
        "has_differences": any(row["difference"] for row in rows),
    }
