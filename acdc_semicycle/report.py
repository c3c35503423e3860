"""One page that says how a set of scans was segmented: report.html, from a disk, without a network.

What ``semicycle predict`` and ``semicycle evaluate`` left in a folder is laid side by side, the worst case first. The
page holds its own style, script and pictures; report.json and report.csv hold its numbers, figures/ its plots.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from contourpy import contour_generator
from jinja2 import Environment, FileSystemLoader
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from acdc_semicycle.data import acdc, volumes
from acdc_semicycle.errors import InputError
from acdc_semicycle.figures import colours_of

PICTURES = 60  # of the worst cases; the others have their numbers only
DPI = 130  # of plots
SIDE, SMALL = 176, 112  # pixels of a picture's longer side, at most; of the painted one's
INDICES = {
    "lv_edv_ml": ("LV EDV", "ml"), "lv_esv_ml": ("LV ESV", "ml"), "lv_sv_ml": ("LV SV", "ml"),
    "lv_ef_percent": ("LV EF", "%"), "rv_edv_ml": ("RV EDV", "ml"), "rv_esv_ml": ("RV ESV", "ml"),
    "rv_sv_ml": ("RV SV", "ml"), "rv_ef_percent": ("RV EF", "%"), "myo_mass_g": ("Myo mass", "g"),
}  # fmt: skip
PLOTS = {"volumes": ("lv_edv_ml", "lv_esv_ml", "rv_edv_ml", "rv_esv_ml"), "ef": ("lv_ef_percent", "rv_ef_percent")}
MEASURES = {"dice": ("Dice", 3), "hd95": ("HD95", 1), "assd": ("ASSD", 2)}
INK, GREY = "#0b6b75", "#59656f"
# what a panel, a table of ours or a mask that is damaged raises
DAMAGE = (*volumes.DAMAGE, KeyError, IndexError, zipfile.BadZipFile, InputError)


@dataclass(frozen=True)
class Case:
    """A row of the summary: what the prediction says of it, and its scores where there is a truth.

    Attributes:
        predicted: its entry in predictions.json, or empty.
        scored: its entry in evaluation.json, or empty.
        other: the second tool's entry there, or empty.
    """

    name: str
    predicted: dict[str, Any] = field(default_factory=dict)
    scored: dict[str, Any] = field(default_factory=dict)
    other: dict[str, Any] = field(default_factory=dict)

    def about(self, key: str) -> str:
        return str(self.scored.get(key) or self.predicted.get(key) or self.other.get(key) or "")

    def score(self, measure: str, name: str = "mean", tool: str = "scored") -> float | int | None:
        return (getattr(self, tool).get(measure) or {}).get(name)

    @property
    def quality(self) -> float | int | None:
        return self.predicted.get("quality")

    @property
    def seconds(self) -> float | int | None:
        spent = [value for value in (self.predicted.get("seconds") or {}).values() if value is not None]
        return sum(spent) if spent else None

    @property
    def worst_first(self) -> tuple[Any, ...]:
        """By the true Dice, else by what is expected of it, else by name; what has no number comes first."""
        known = self.score("dice"), self.quality
        return (*((value is not None, value or 0.0) for value in known), self.name, self.about("phase"))

    def volumes_ml(self, structure: str, whose: str = "prediction") -> list[float | int]:
        """One number, or the ED and the ES frame's of a cine; empty where unknown."""
        found = [((self.scored.get("volumes_ml") or {}).get(whose) or {}).get(structure)]
        frames = (self.predicted.get("volumes_ml") or {}).get(structure) or []
        if found == [None] and whose == "prediction":
            phases = self.predicted.get("phases") or {}
            places = [phases[phase] for phase in ("ED", "ES") if phases.get(phase) is not None] or [0]
            found = [frames[place] for place in places if place < len(frames)]
        return [value for value in found if value is not None]


class Slice(NamedTuple):
    """What is shown of one slice: arrays [H, W] as a radiologist sees them."""

    place: int
    image: NDArray
    prediction: NDArray  # class indices
    truth: NDArray | None = None  # class indices
    painted: NDArray | None = None
    difference: NDArray | None = None  # 0 = agree


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
    content, figures, page = _content(folder, predicted, evaluated), _figures(evaluated), folder / "report.html"
    for name, png in figures.items():
        _write_bytes(folder / "figures" / f"{name}.png", png)
    page_text = _environment().get_template("report.html").render(content | _pictured(folder, content, figures))
    texts = {"json": json.dumps(_numbers(content), indent=1) + "\n", "csv": _csv(content), "html": page_text}
    for ending, text in texts.items():  # a file system may hold names that are no Unicode: ? for what cannot be written
        _write_bytes(page.with_suffix(f".{ending}"), text.encode("utf-8", "replace"))
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
    raise InputError(f"{path} is damaged or holds no list of cases: run semicycle {verb} again")


def _content(folder: Path, predicted: dict[str, Any], evaluated: dict[str, Any]) -> dict[str, Any]:
    """All the page says in words and numbers."""
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
        **_scores(evaluated, tools),
        **_quality(predicted.get("quality") or {}, cases),
    }


def _cases(predicted: dict[str, Any], evaluated: dict[str, Any], tools: Sequence[str]) -> Iterator[Case]:
    """Every case of either file; a cine that was scored in two phases is two."""
    entries = {entry["case"]: entry for entry in predicted.get("cases") or []}
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
        "figures": {name: _uri(png) for name, png in figures.items()},
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
                slices = _drawn(_slices(folder, case), labels)
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
            "patient": patients.get(case.about("patient")),
            "structures": bool(case.scored) or volumes_known,
            "volumes": volumes_known,
            "truths": truths,
        }


def _is_flagged(case: Case, quality: Mapping[str, Any]) -> bool:
    limit = quality.get("threshold")
    return limit is not None and case.quality is not None and case.quality < limit


def _of_slice(case: Case, place: int) -> float | int | None:
    """The cycle's score of a slice; of a cine it is not known which frame's it would be."""
    scores = (case.predicted.get("slices") or {}).get("cycle") or []
    return scores[place] if place < len(scores) and case.predicted.get("frames") == 1 else None


def _slices(folder: Path, case: Case) -> list[Slice]:
    """Up to three slices of a case: those kept when it was predicted, else from the files themselves."""
    panel = case.predicted.get("panel")
    if panel and (folder / panel).is_file():
        return _from_panel(folder, case, folder / panel)
    path = case.scored.get("prediction") or case.predicted.get("mask")
    if not path:
        raise InputError("no mask of it is named")
    prediction = volumes.read(_found(folder, path), frames=True)
    mask = prediction.layout.apply(prediction.voxels)[..., 0]
    held = np.flatnonzero((mask > 0).any((0, 1)))
    held = held if held.size else np.arange(mask.shape[2])
    places = np.unique(held[np.round(np.quantile(np.arange(held.size), (0.15, 0.5, 0.85))).astype(int)])
    turned = prediction.spacing_fault is None
    truth = _truth(folder, case, 0, mask.shape[:2])
    image = _image(folder, case, mask)
    return [
        Slice(
            int(z),
            displayed(image[..., z], turned),
            displayed(mask[..., z], turned),
            None if truth is None or z >= truth.shape[2] else displayed(truth[..., z], turned),
        )
        for z in places
    ]


def _from_panel(folder: Path, case: Case, path: Path) -> list[Slice]:
    with np.load(path, allow_pickle=False) as panel:
        held = {name: panel[name] for name in panel.files}
    turned, (height, width) = bool(held["turned"]), held["prediction_0"].shape
    truth = _truth(folder, case, int(held["frame"]), (width, height))  # displayed, a slice is transposed
    return [
        Slice(
            int(z),
            held[f"image_{n}"],
            held[f"prediction_{n}"],
            None if truth is None or z >= truth.shape[2] else displayed(truth[..., z], turned),
            held.get(f"painted_{n}"),
            held.get(f"difference_{n}"),
        )
        for n, z in enumerate(held["places"])
    ]


def displayed(plane: NDArray, turned: bool) -> NDArray:
    """A canonical slice [H, W] as a radiologist sees it: rows down the screen, the patient's right on the left."""
    return plane.T[::-1, ::-1] if turned else plane.T


def _truth(folder: Path, case: Case, frame: int, shape: tuple[int, ...]) -> NDArray | None:
    """The true masks [H, W, slices] of a frame; None where there are none of that frame and shape to be read."""
    if not case.scored.get("truth"):
        return None
    try:
        volume = volumes.read(_found(folder, case.scored["truth"]), frames=True)
    except DAMAGE:
        return None  # its scores are there, and say more than its outline
    masks = volume.layout.apply(volume.voxels)
    if masks.shape[3] == 1 and (case.predicted.get("frames") or 1) > 1:  # of a cine: perhaps of another frame
        frame -= (case.predicted.get("phases") or {}).get(case.about("phase"), -1)
    return masks[..., frame] if 0 <= frame < masks.shape[3] and masks.shape[:2] == shape else None


def _image(folder: Path, case: Case, mask: NDArray) -> NDArray:
    """The scan [H, W, slices] in greys of 0 to 255; black where it is not to be had."""
    path, image = case.scored.get("image") or case.predicted.get("scan"), np.zeros(0)
    with suppress(*DAMAGE):  # the outlines still tell
        if path:
            volume = volumes.read(_found(folder, path), frames=True)
            image = volume.layout.apply(volume.voxels)[..., 0].astype(np.float32)
    if image.shape != mask.shape:
        return np.zeros(mask.shape, np.uint8)
    low, high = np.percentile(image, (1, 99.5))
    return (np.clip((image - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)


def _found(folder: Path, path: str | Path) -> Path:
    """A path as seen from the folder, or, where that leads nowhere, as it was given."""
    return folder / path if (folder / path).exists() else Path(path)


def _drawn(slices: Sequence[Slice], labels: Sequence[int]) -> list[dict[str, Any]]:
    """Slices as pictures of the part where there is something, and outlines in half pixels over them."""
    window = _window(slices)
    drawn = []
    for one in slices:
        height, width = one.image[window].shape
        maps = {"painted": (one.painted, None), "difference": (one.difference, "inferno")}
        drawn.append(
            {
                "place": one.place,
                "size": (2 * width, 2 * height),
                "image": _uri(_png(one.image[window], SIDE)),
                "outlines": [(label, _outline(one.prediction[window] == label)) for label in labels],
                "truth": None if one.truth is None else [_outline(one.truth[window] == label) for label in labels],
            }
            | {
                name: None if a is None else _uri(_png(a[window], SMALL, colours))
                for name, (a, colours) in maps.items()
            }
        )
    return drawn


def _window(slices: Sequence[Slice]) -> tuple[slice, slice]:
    """A square around all the masks, and half as much again; the same for every slice."""
    masks = [mask for one in slices for mask in (one.prediction, one.truth) if mask is not None]
    rows, columns = np.nonzero(np.any([mask > 0 for mask in masks], axis=0))
    height, width = masks[0].shape
    if not rows.size:
        return slice(0, height), slice(0, width)
    side = max(int(1.5 * max(np.ptp(rows), np.ptp(columns))), 64)
    top, left = (int(places.min() + places.max() - side) // 2 for places in (rows, columns))
    top, left = max(0, min(top, height - side)), max(0, min(left, width - side))
    return slice(top, top + side), slice(left, left + side)


def _png(grey: NDArray, side: int, colours: str | None = None) -> bytes:
    """A picture of 64 greys, or of 16 colours: all that is seen at its size, in half the room."""
    picture = Image.fromarray(np.ascontiguousarray(grey, np.uint8))
    picture.thumbnail((side, side))
    step = 16 if colours else 4
    picture = picture.point(lambda value: value // step * step)
    if colours:
        picture.putpalette((colormaps[colours](np.arange(256))[:, :3] * 255).astype(np.uint8).tobytes())
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _outline(mask: NDArray) -> str:
    """The borders of a mask [H, W] as an SVG path, in half pixels."""
    path = []
    for line in contour_generator(z=np.pad(mask, 1).astype(float)).lines(0.5):
        points = np.round(2 * np.asarray(line)).astype(int) - 1  # less the padding; a pixel's middle is its half
        turns = (np.diff(points, 2, axis=0) != 0).any(1)
        corners = points[[True, *turns, True]]  # the rest lies on straight lines
        steps = " ".join(f"{x} {y}" for x, y in np.diff(corners, axis=0))
        path.append(f"M{points[0, 0]} {points[0, 1]}l{steps}z")
    return "".join(path)


def _figures(evaluated: dict[str, Any]) -> dict[str, bytes]:
    """PNG plots of volumes and ejection fractions: each tool against the truth, and the tools against each other."""
    of_tool: dict[str, dict[str, dict[str, Any]]] = {}
    for entry in evaluated.get("patients") or []:
        of_tool.setdefault(str(entry.get("tool")), {})[entry["patient"]] = entry
    drawn: dict[str, Figure | None] = {}
    for number, (tool, patients) in enumerate(of_tool.items(), start=1):
        pairs = [(entry.get("truth") or {}, entry.get("prediction") or {}) for entry in patients.values()]
        suffix = "" if number == 1 else f"_{number}"
        for name, keys in PLOTS.items():
            drawn[f"scatter_{name}{suffix}"] = _plot(scatter, pairs, keys, ("truth", tool))
            drawn[f"bland_altman_{name}{suffix}"] = _plot(bland_altman, pairs, keys, ("truth", tool))
    if len(of_tool) == 2:
        (a, first), (b, second) = of_tool.items()
        both = [(first[p].get("prediction") or {}, second[p].get("prediction") or {}) for p in first if p in second]
        for name, keys in PLOTS.items():
            drawn[f"bland_altman_tools_{name}"] = _plot(bland_altman, both, keys, (a, b))
    return {name: _saved(figure) for name, figure in drawn.items() if figure}


def _plot(draw: Any, pairs: Sequence[tuple[Any, Any]], keys: Sequence[str], names: tuple[str, str]) -> Figure | None:
    """A panel an index; None where no patient has both numbers of any."""
    found: dict[str, NDArray] = {}
    for key in keys:
        known = [(x[key], y[key]) for x, y in pairs if x.get(key) is not None and y.get(key) is not None]
        if known:
            found[key] = np.array(known, float).T
    if not found:
        return None
    figure = Figure(figsize=(2.9 * len(found), 2.9), layout="constrained")
    for axis, (key, (x, y)) in zip(figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True):
        draw(axis, x, y, INDICES[key][1], names)
        axis.set_title(INDICES[key][0], fontsize=9, loc="left", fontweight="bold")
        axis.tick_params(labelsize=8, colors=GREY)
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color("0.75")
    return figure


def scatter(axis: Axes, x: NDArray, y: NDArray, unit: str, names: Sequence[str]) -> None:
    """Paired numbers [n] and the line on which they are equal; r where three or more make one."""
    ends = [min(x.min(), y.min()), max(x.max(), y.max())]
    axis.plot(ends, ends, color="0.6", linewidth=1, zorder=1)
    axis.scatter(x, y, s=16, color=INK, alpha=0.75, linewidths=0, zorder=2)
    axis.set_aspect("equal", "datalim")
    axis.set_ylabel(f"{_short(names[1])}, {unit}", fontsize=8, parse_math=False)
    words = f"n = {len(x)}, mean |error| {np.abs(y - x).mean():.1f}"
    if len(x) > 2 and np.ptp(x) > 0 and np.ptp(y) > 0:
        words += f", r = {np.corrcoef(x, y)[0, 1]:.3f}"
    axis.set_xlabel(f"{_short(names[0])}, {unit}\n{words}", fontsize=8, parse_math=False)


def bland_altman(axis: Axes, x: NDArray, y: NDArray, unit: str, names: Sequence[str]) -> None:
    """Differences y - x over means, their bias, and the limits of agreement: 1.96 standard deviations on both sides."""
    middle, difference = (x + y) / 2, y - x
    bias, spread = difference.mean(), 1.96 * difference.std(ddof=1) if len(x) > 1 else 0.0
    lines = {bias: "-"} | ({bias - spread: "--", bias + spread: "--"} if len(x) > 1 else {})
    for height, style in lines.items():
        axis.axhline(height, color=INK, linestyle=style, linewidth=1, zorder=1)
    axis.axhline(0, color="0.75", linewidth=0.8, zorder=0)
    axis.scatter(middle, difference, s=16, color=INK, alpha=0.75, linewidths=0, zorder=2)
    axis.margins(y=0.15)
    axis.set_ylabel(f"{_short(names[1])} − {_short(names[0])}, {unit}", fontsize=8, parse_math=False)
    words = f"n = {len(x)}, bias {bias:+.1f}" + (
        f", limits {bias - spread:+.1f} to {bias + spread:+.1f}" * (len(x) > 1)
    )
    axis.set_xlabel(f"mean of both, {unit}\n{words.replace('-', '−')}", fontsize=8)


def _short(name: str) -> str:
    return name if len(name) <= 24 else name[:23] + "…"


def _saved(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DPI, metadata={"Software": None})
    return stream.getvalue()


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
    writer.writerows(content["rows"])
    return stream.getvalue()


def _numbers(content: Mapping[str, Any]) -> dict[str, Any]:
    """What report.json keeps: the tables of the page, and how it was made."""
    keys = [column.key for column in content["columns"]]
    told = {key: content[key] for key in ("title", "written", "tools", "patients", "summary", "failures", "missing")}
    made = {key: [source.get(key) for source in content["sources"]] for key in ("command", "versions", "machine")}
    return told | {"cases": [{key: row[key] for key in keys} for row in content["rows"]]} | made


def _write_bytes(path: Path, content: bytes) -> None:
    """As ``files.write_text``, for bytes: there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".part-{os.getpid()}-{path.name}")
    beside.write_bytes(content)
    beside.replace(path)
