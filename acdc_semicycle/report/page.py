"""One page that says how a set of scans was segmented: report.html, from a disk, without a network.

What ``semicycle predict`` and ``semicycle evaluate`` left in a folder is laid side by side, the worst case first. The
page holds its own style, script and pictures; report.json and report.csv hold its numbers, figures/ its plots.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from PIL import Image

from acdc_semicycle.artifacts.score_names import current_predictions
from acdc_semicycle.evaluation.evaluation_files import check_current
from acdc_semicycle.report import cards as case_cards
from acdc_semicycle.report import of_network, plots
from acdc_semicycle.report.case_table import csv_of
from acdc_semicycle.report.content import content_of
from acdc_semicycle.report.drawing import uri
from acdc_semicycle.report.plots import DPI
from acdc_semicycle.report.templates import GENERATOR, encoded, environment
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import MADE_HERE, check_folder, check_ours, write_bytes

OURS = (  # each file with what marks it as written here
    ("report.html", GENERATOR),
    ("report.json", '"cases"', MADE_HERE),
    ("report.csv", "case,patient,phase"),
)
# what a value of another kind than predict and evaluate write raises where it is used
WRONG_KIND = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, TemplateError)


def write(folder: Path, title: str | None = None) -> Path:
    """Write report.html, report.json, report.csv and figures/ into a folder of predictions or of an evaluation.

    Args:
        folder: holds predictions.json (``semicycle predict``), evaluation.json (``semicycle evaluate``), or both; or
            a network's report.json, as a training leaves it, beside which only report.html is written.
        title: of the page; by default the data set and the network.

    Returns:
        The path of report.html.

    Raises:
        InputError: neither file is there, or one of them is not what those commands write.
    """
    folder = Path(folder)
    network = _network_report(folder)
    predicted, evaluated = ({}, {}) if network else _load_both(folder)
    check_folder(folder)
    for name, *signs in OURS[:1] if network else OURS:
        check_ours(folder / name, *signs)
    try:
        if network:
            files = _page_of_network(folder, network, title)
        else:
            files = _files(folder, predicted, evaluated, title)
    except InputError:
        raise
    except WRONG_KIND as error:
        names = ["report.json"] if network else ["predictions.json", "evaluation.json"]
        paths = [folder / name for name in names]
        raise _damaged(filter(Path.is_file, paths), error) from error
    for name, data in files.items():
        write_bytes(folder / name, data)
    return folder / "report.html"


def _network_report(folder: Path) -> dict[str, Any]:
    """The report.json of a network, in a folder without predictions and evaluation; empty where there is none."""
    path = folder / "report.json"
    others = (folder / "predictions.json", folder / "evaluation.json")
    if not path.is_file() or any(map(Path.is_file, others)):
        return {}
    content = _load(path, "evaluate")
    return content if of_network.SIGN in content else {}


def _page_of_network(folder: Path, report: dict[str, Any], title: str | None) -> dict[str, bytes]:
    """The page of a network's report, whose report.json is there already."""
    predicted, evaluated = of_network.sources_of(folder, report)
    files = _files(folder, predicted, evaluated, title or of_network.title_of(folder, report))
    return {"report.html": files["report.html"]}


def _damaged(paths: Iterable[Path], error: Exception) -> InputError:
    """The error for a value of another kind in one of these files."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    names = " or ".join(map(str, paths))
    advice = "remove it, and run semicycle predict or semicycle evaluate again"
    return InputError(f"{names} is damaged ({reason}): {advice}")


def _files(folder: Path, predicted: dict[str, Any], evaluated: dict[str, Any], title: str | None) -> dict[str, bytes]:
    """The content of each file of the report, by its name: the plots first, the page last."""
    if evaluated:
        check_current(folder, evaluated)
    content, figures = content_of(folder, predicted, evaluated, title), plots.figures(evaluated)
    files = {f"figures/{name}.png": png for name, png in figures.items()}
    page = environment().get_template("report.html").render(content | _pictured(folder, content, figures))
    files["report.json"] = encoded(json.dumps(_numbers(content), indent=1) + "\n")
    files["report.csv"] = encoded(csv_of(content))
    files["report.html"] = encoded(page)
    return files


def _load_both(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The contents of predictions.json and of evaluation.json, one of them perhaps empty."""
    predicted = current_predictions(_load(folder / "predictions.json", "predict"))
    evaluated = _load(folder / "evaluation.json", "evaluate")
    if not (predicted or evaluated):
        raise InputError(
            f"{folder} holds neither predictions.json nor evaluation.json: give a folder that semicycle predict or"
            " semicycle evaluate has written"
        )
    return predicted, evaluated


def _load(path: Path, verb: str) -> dict[str, Any]:
    """The content of a file that ``semicycle`` with this verb writes, NaN read as null; empty where there is none."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_bytes(), parse_constant=lambda _: None)
        if all(isinstance(case["case"], str) for case in content["cases"]):
            return content
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass  # reported below, in the user's words
    raise InputError(f"{path} is damaged or holds no list of cases: remove it, and run semicycle {verb} again")


def _pictured(folder: Path, content: dict[str, Any], figures: dict[str, bytes]) -> dict[str, Any]:
    """What only the page has: the cards, the plots, and whether there are painted images and truths among them."""
    cards = case_cards.cards_of(folder, content)
    sources, widths = {}, {}
    for name, png in figures.items():
        sources[name] = uri(png)
        widths[name] = round(Image.open(io.BytesIO(png)).width * 96 / DPI)
    painted = truths = slices = False
    for card in cards:
        slices |= not card["case"].is_picture
        for picture in card["slices"]:
            painted |= bool(picture["painted"])
            truths |= bool(picture["truth"])
    return {
        "cards": cards,
        "pictures": case_cards.PICTURES,
        "painted": painted,
        "truths": truths,
        "slices": slices,
        "several": any(len(card["slices"]) > 1 for card in cards),
        "leafed": any(card["all_slices"] for card in cards),
        "figures": sources,
        "widths": widths,
    }


def _numbers(content: Mapping[str, Any]) -> dict[str, Any]:
    """What report.json keeps: the tables of the page, and how it was made."""
    result: dict[str, Any] = {"report_of": "the label maps of a folder (semicycle predict, semicycle report)"}
    for key in (
        "title",
        "written",
        "tools",
        "warnings",
        "postprocessing",
        "patients",
        "summary",
        "failures",
        "missing",
    ):
        result[key] = content[key]
    result["cases"] = []
    for row in content["rows"]:
        result["cases"].append({column.key: row[column.key] for column in content["columns"]})
    for key in ("command", "versions", "machine"):
        result[key] = [source.get(key) for source in content["sources"]]
    return result
