"""One page that says how a set of scans was segmented: report.html, from a disk, without a network.

What ``semicycle predict`` and ``semicycle evaluate`` left in a folder is laid side by side, the worst case first. The
page holds its own style, script and pictures; report.json and report.csv hold its numbers, figures/ its plots.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader
from matplotlib.colors import to_hex
from PIL import Image

from acdc_semicycle.datasets import acdc
from acdc_semicycle.evaluation.evaluation_files import check_current
from acdc_semicycle.evaluation.figures import colours_of
from acdc_semicycle.evaluation.quality import SCORES
from acdc_semicycle.evaluation.quality_fit import expected_dice, nothing_found
from acdc_semicycle.report import plots
from acdc_semicycle.report.case_images import DAMAGE, Case, drawn, slices_of, uri
from acdc_semicycle.report.plots import DPI, INDICES
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import MADE_HERE, check_folder, check_ours, write_bytes

PICTURES = 60  # of the worst cases; the others have their numbers only
OURS = (  # and by what they are known
    ("report.html", '<meta name="generator" content="semicycle">'),
    ("report.json", '"cases"', MADE_HERE),
    ("report.csv", "case,patient,phase"),
)
MEASURES = {"dice": ("Dice", 3), "hd95": ("HD95", 1), "assd": ("ASSD", 2)}


class Column(NamedTuple):
    """A column of the summary; ``digits`` None is text."""

    key: str
    group: str
    title: str
    digits: int | None = None


def write(folder: Path) -> Path:
    """Write report.html, report.json, report.csv and figures/ into a folder of predictions or of an evaluation.

    Args:
        folder: holds predictions.json (``semicycle predict``), evaluation.json (``semicycle evaluate``), or both.

    Returns:
        The path of report.html.

    Raises:
        InputError: neither file is there, or one of them is not what those commands write.
    """
    folder = Path(folder)
    predicted, evaluated = (_load(folder / f"{name}.json") for name in ("predictions", "evaluation"))
    if not (predicted or evaluated):
        raise InputError(
            f"{folder} holds neither predictions.json nor evaluation.json: give the folder that semicycle predict -o"
            " or semicycle evaluate --pred named"
        )
    check_folder(folder)
    for name, *signs in OURS:
        check_ours(folder / name, *signs)
    if evaluated:
        check_current(folder, evaluated)
    content, figures, page = _content(folder, predicted, evaluated), plots.figures(evaluated), folder / "report.html"
    for name, png in figures.items():
        write_bytes(folder / "figures" / f"{name}.png", png)
    page_text = _environment().get_template("report.html").render(content | _pictured(folder, content, figures))
    texts = {"json": json.dumps(_numbers(content), indent=1) + "\n", "csv": _csv(content), "html": page_text}
    for ending, text in texts.items():  # a file system may hold names that are no Unicode: ? for what cannot be written
        write_bytes(page.with_suffix(f".{ending}"), text.encode("utf-8", "replace"))
    return page


def _load(path: Path) -> dict[str, Any]:
    """The content of one of the two files, NaN read as null; empty where there is no such file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_bytes(), parse_constant=lambda _: None)
        if all(isinstance(case["case"], str) for case in content["cases"]):
            return content
    except (OSError, ValueError, KeyError, TypeError):
        pass  # said below, in the user's words
    verb = "predict" if path.stem == "predictions" else "evaluate"
    raise InputError(f"{path} is damaged or holds no list of cases: take it away, and run semicycle {verb} again")


def _content(folder: Path, predicted: dict[str, Any], evaluated: dict[str, Any]) -> dict[str, Any]:
    """All the page says in words and numbers."""
    evaluated = _of_two(evaluated)
    tools = list(evaluated.get("tools") or [folder.resolve().name])
    cases = sorted(_cases(predicted, evaluated, tools), key=lambda case: case.worst_first)
    classes = list(predicted.get("classes") or evaluated.get("classes") or acdc.CLASSES)
    structures = [name for name in classes if name != "background"]
    colours = predicted.get("colours") or (acdc.COLOURS if tuple(classes) == acdc.CLASSES else None)
    sources = [source for source in (predicted, evaluated) if source]
    return {
        "title": folder.resolve().name,
        "written": datetime.now().astimezone().isoformat(" ", "minutes"),
        "predicted": predicted,
        "evaluated": evaluated,
        "sources": sources,
        "tools": tools,
        "reference": evaluated.get("reference") or "truth",
        "structures": structures,
        "colours": [to_hex(colour) for colour in colours_of(len(classes), colours)],
        "classes": classes,
        "unit": _unit(cases),
        "measures": MEASURES,
        "indices": INDICES,
        "cases": cases,
        "columns": list(_columns(cases, structures, tools)),
        "rows": [_row(case, structures) for case in cases],
        "patients": _patients(predicted, evaluated, tools[0]),
        "failures": [failure for source in sources for failure in source.get("failures") or []],
        "missing": evaluated.get("missing") or [],
        "pictures": PICTURES,
        "judged": SCORES,
        **_scores(evaluated, tools),
        **_quality(predicted.get("quality") or {}, cases),
    }


def _of_two(evaluated: dict[str, Any]) -> dict[str, Any]:
    """Two tools that were compared without a truth, as one that was evaluated against the other."""
    if evaluated.get("truth") or not evaluated.get("agreement_cases"):
        return evaluated
    first, second = evaluated["tools"]
    both = f"{second} against {first}"
    told = {"tools": [both], "cases": evaluated["agreement_cases"], "summary": {both: evaluated["agreement"]}}
    return evaluated | told | {"reference": first}


def _cases(predicted: dict[str, Any], evaluated: dict[str, Any], tools: Sequence[str]) -> Iterator[Case]:
    """Every case of either file; a cine that was scored in two phases is two."""
    # the pictures kept of a prediction would be those of the first of two tools
    entries = {entry["case"]: entry for entry in predicted.get("cases") or [] if "reference" not in evaluated}
    scored = [entry for entry in evaluated.get("cases") or [] if entry.get("tool") in (None, tools[0])]
    others = {
        (entry["case"], entry.get("phase")): entry
        for entry in evaluated.get("cases") or []
        if len(tools) > 1 and entry.get("tool") == tools[1]
    }
    for entry in scored:
        key = entry["case"], entry.get("phase")
        yield Case(entry["case"], entries.get(entry["case"], {}), entry, others.pop(key, {}))
    known = {entry["case"] for entry in scored}
    yield from (Case(name, entry) for name, entry in entries.items() if name not in known)
    yield from (Case(name, other=entry) for (name, _), entry in others.items() if name not in known | set(entries))


def _unit(cases: Sequence[Case]) -> str:
    """Of distances: mm, voxels, or empty where cases differ."""
    units = {case.scored["unit"] for case in cases if case.scored.get("unit")}
    return units.pop() if len(units) == 1 else ""


def _columns(cases: Sequence[Case], structures: Sequence[str], tools: Sequence[str]) -> Iterator[Column]:
    """Those of the summary for which any case has something."""
    yield from (Column(name, "", name.capitalize()) for name in ("case", "patient", "phase"))
    if any(case.quality is not None for case in cases):
        yield Column("quality", "", "Quality", 3)
    if any(case.scored for case in cases):
        yield from (Column(f"dice_{name}", "Dice", name, 3) for name in ("mean", *structures))
        yield Column("hd95_mean", "HD95", _unit(cases) or "mean", 1)
        if not _unit(cases):
            yield Column("unit", "HD95", "unit")
    if any(case.other for case in cases):
        yield Column("dice_mean_2", tools[1], "Dice", 3)
        yield Column("hd95_mean_2", tools[1], "HD95", 1)
    if any(case.volumes_ml(name) for case in cases for name in structures):
        yield from (Column(f"volume_{name}_ml", "Volume, ml", name, 1) for name in structures)
        if any(len(case.volumes_ml(name)) > 1 for case in cases for name in structures):
            yield from (Column(f"volume_{name}_es_ml", "Volume at ES, ml", name, 1) for name in structures)
    if any(case.seconds is not None for case in cases):
        yield Column("seconds", "", "Seconds", 1)


def _row(case: Case, structures: Sequence[str]) -> dict[str, Any]:
    """The values of a case under the keys of all columns; None where there is none."""
    row = {"case": case.name, "quality": case.quality, "seconds": case.seconds}
    row |= {name: case.about(name) or None for name in ("patient", "phase", "unit")}
    row |= {f"dice_{name}": case.score("dice", name) for name in ("mean", *structures)}
    row["hd95_mean"] = case.score("hd95")
    row |= {f"{measure}_mean_2": case.score(measure, tool="other") for measure in ("dice", "hd95")}
    for name in structures:
        first, second, *_ = [*case.volumes_ml(name), None, None]
        row |= {f"volume_{name}_ml": first, f"volume_{name}_es_ml": second}
    return row


def _patients(predicted: dict[str, Any], evaluated: dict[str, Any], tool: str) -> list[dict[str, Any]]:
    """Each patient's indices: predicted, true, and why they are withheld."""
    found = {entry["patient"]: dict(entry) for entry in predicted.get("patients") or []}
    for entry in evaluated.get("patients") or []:
        if entry.get("tool") in (None, tool):
            mine = found.setdefault(entry["patient"], {"patient": entry["patient"]} | (entry.get("prediction") or {}))
            mine["truth"] = entry.get("truth") or {}
            mine["withheld"] = mine.get("withheld") or entry.get("withheld")
    return [found[name] for name in sorted(found, key=str)]


def _scores(evaluated: dict[str, Any], tools: Sequence[str]) -> dict[str, Any]:
    """Mean scores of each tool, and of the second against the first: over all cases and by phase."""
    parts = {tool: (evaluated.get("summary") or {}).get(tool) for tool in tools}
    if len(tools) > 1:
        parts[f"{tools[1]} against {tools[0]}"] = evaluated.get("agreement")
    summary = {name: {"all": part} | (part.get("by_phase") or {}) for name, part in parts.items() if part}
    return {
        "summary": summary,
        "phases": ["all", *sorted({phase for by_phase in summary.values() for phase in by_phase} - {"all"})],
        "mean_dice": ((parts[tools[0]] or {}).get("dice") or {}).get("mean"),
    }


def _quality(quality: Mapping[str, Any], cases: Sequence[Case]) -> dict[str, Any]:
    """How the quality was made, its mean, and how many cases it flags."""
    known = [case.quality for case in cases if case.quality is not None]
    return {
        "quality": quality,
        "mean_quality": sum(known) / len(known) if known else None,
        "flagged": sum(_is_flagged(case, quality) for case in cases),
    }


def _pictured(folder: Path, content: dict[str, Any], figures: dict[str, bytes]) -> dict[str, Any]:
    """What only the page has: the cards, the plots, and what there is among them."""
    cards = list(_cards(folder, content))
    slices = [one for card in cards for one in card["slices"]]
    return {
        "cards": cards,
        "painted": any(one["painted"] for one in slices),
        "truths": any(one["truth"] for one in slices),
        "figures": {name: uri(png) for name, png in figures.items()},
        "widths": {name: round(Image.open(io.BytesIO(png)).width * 96 / DPI) for name, png in figures.items()},
    }


def _cards(folder: Path, content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A card a case: its pictures, if it is one of the worst, and whatever else is known of it."""
    patients = {patient["patient"]: patient for patient in content["patients"]}
    labels = range(1, len(content["classes"]))
    for number, case in enumerate(content["cases"]):
        slices, unseen = [], None
        if number < PICTURES:
            try:
                slices = drawn(slices_of(folder, case), labels)
            except DAMAGE as error:
                unseen = str(error).strip("'\"") or type(error).__name__
        volumes_known, truths = (
            any(case.volumes_ml(name, whose) for name in content["structures"]) for whose in ("prediction", "truth")
        )
        yield {
            "case": case,
            "slices": [one | {"cycle": _of_slice(case, one["place"])} for one in slices],
            "unseen": unseen,
            "flagged": _is_flagged(case, content["quality"]),
            "judged": _worst(case, content["quality"]),
            "patient": patients.get(case.about("patient")),
            "structures": bool(case.scored) or volumes_known,
            "volumes": volumes_known,
            "truths": truths,
        }


def _worst(case: Case, quality: Mapping[str, Any]) -> dict[str, Any]:
    """What was judged without a truth, of a cine's worst frame; the first where that is not known."""

    def expected(scores: dict[str, Any]) -> float:
        value = expected_dice(quality, scores) if quality.get("weights") else None
        return -1.0 if value is None else value

    return min(case.predicted.get("frame_scores") or [{}], key=expected)


def _is_flagged(case: Case, quality: Mapping[str, Any]) -> bool:
    """Whether it is to be looked at: by its quality, or because there is a frame in which nothing was found."""
    limit = quality.get("threshold")
    if limit is None or case.quality is not None:
        return limit is not None and case.quality < limit
    return any(nothing_found(scores) for scores in case.predicted.get("frame_scores") or [])


def _of_slice(case: Case, place: int) -> float | int | None:
    """The cycle's score of a slice; of a cine it is not known which frame's it would be."""
    scores = (case.predicted.get("slices") or {}).get("cycle") or []
    return scores[place] if place < len(scores) and case.predicted.get("frames") == 1 else None


def _environment() -> Environment:
    """Every value is escaped: names of cases come from the names of files."""
    here = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=here, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = _number
    return environment


def _number(value: Any, digits: int = 3) -> str:
    if isinstance(value, list | tuple):
        return " → ".join(_number(one, digits) for one in value) or "–"
    if not isinstance(value, int | float) or not math.isfinite(value):  # None, and what a template does not find
        return "–"
    return f"{value:.{digits}f}".replace("-", "−")


def _csv(content: Mapping[str, Any]) -> str:
    stream = io.StringIO()
    keys = [column.key for column in content["columns"]]
    writer = csv.DictWriter(stream, keys, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: round(value, 6) if isinstance(value, float) else value for key, value in row.items()}
        for row in content["rows"]
    )
    return stream.getvalue()


def _numbers(content: Mapping[str, Any]) -> dict[str, Any]:
    """What report.json keeps: the tables of the page, and how it was made."""
    keys = [column.key for column in content["columns"]]
    told = {key: content[key] for key in ("title", "written", "tools", "patients", "summary", "failures", "missing")}
    made = {key: [source.get(key) for source in content["sources"]] for key in ("command", "versions", "machine")}
    return told | {"cases": [{key: row[key] for key in keys} for row in content["rows"]]} | made
