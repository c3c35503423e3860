"""Tables 1 and 2 of the paper, and panels of the methods side by side, from the finished runs below a folder.

A run is the folder OUT/DATASET/labels_LABELS/METHOD/seed_SEED, finished once its ``finished.json`` names a report.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.evaluation.means import mean_and_std
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import read_json, write_text

if TYPE_CHECKING:  # matplotlib: only where something is drawn
    from matplotlib.figure import Figure

PAPER: dict[tuple[str, str], dict[str, float]] = {  # method and labels: the mean IoU of each data set
    ("full", "100"): {"voc": 0.5543, "cityscapes": 0.5551, "acdc": 0.8982},
    ("hung", "20"): {"voc": 0.2032, "cityscapes": 0.3490, "acdc": 0.8063},
    ("partial", "50"): {"voc": 0.4108, "cityscapes": 0.4856, "acdc": 0.8863},
    ("partial", "30"): {"voc": 0.3237, "cityscapes": 0.4502, "acdc": 0.8785},
    ("partial", "20"): {"voc": 0.2688, "cityscapes": 0.4112, "acdc": 0.8642},
    ("partial", "10"): {"voc": 0.2158, "cityscapes": 0.3636, "acdc": 0.8418},
    ("semicycle", "50"): {"voc": 0.4197, "cityscapes": 0.4997, "acdc": 0.8890},
    ("semicycle", "30"): {"voc": 0.3514, "cityscapes": 0.4654, "acdc": 0.8804},
    ("semicycle", "20"): {"voc": 0.2981, "cityscapes": 0.4321, "acdc": 0.8688},
    ("semicycle", "10"): {"voc": 0.2543, "cityscapes": 0.3923, "acdc": 0.8463},
    ("no_cycle_S", "20"): {"voc": 0.2627},
    ("no_cycle_I", "20"): {"voc": 0.2733},
    ("no_disc_S", "20"): {"voc": 0.2614},
    ("no_disc_I", "20"): {"voc": 0.2543},
}
METHODS = ("full", "hung", "partial", "semicycle")
ABLATIONS = ("no_cycle_S", "no_cycle_I", "no_disc_S", "no_disc_I")
WORDS = {"semicycle": "all terms"} | {name: f"without {name[3:]}" for name in ABLATIONS}
SCORES = {  # of a report's summary, the main one first, in words
    "acdc": {"dice": "3D Dice", "iou": "3D IoU", "paper_miou": "paper's mIoU"},
    "voc": {"miou": "mIoU", "paper_miou": "paper's mIoU"},
    "cityscapes": {"miou": "mIoU", "paper_miou": "paper's mIoU"},
}
INCOMPARABLE = (
    "The paper's figures are no yardstick for these. Paper: one random split of all images (ACDC: slices), the best"
    " epoch on the very set that is reported, one seed, mean IoU at the network's resolution with VOC's background and"
    " Cityscapes' void taken out."
)
HERE = "Here: the network is chosen on validation and reported on test images, ACDC is split by patient."
ALPHA = 0.55  # of the colours laid over a picture
COLUMN, DPI = 2.2, 110  # inches a column of a panel
LEGEND = 7  # classes a line


@dataclass(frozen=True)
class Cell:
    """One run of a table; ``labels`` is a percentage ("20") or a number of patients ("3p")."""

    dataset: str
    labels: str
    method: str
    seed: int

    @property
    def place(self) -> Path:
        """Its folder below the output folder."""
        return Path(self.dataset, f"labels_{self.labels}", self.method, f"seed_{self.seed}")

    def __str__(self) -> str:
        return f"{self.dataset} {labels_in_words(self.labels)} {self.method} seed {self.seed}"


class Shown(NamedTuple):
    """One case of a panel: uint8 [H, W], the image perhaps [H, W, 3]; 255 of the truth is no class."""

    image: NDArray
    truth: NDArray
    prediction: NDArray


class Finished(NamedTuple):
    """A finished run."""

    cell: Cell
    command: str
    report: dict[str, Any]
    folder: Path  # of the report

    def score(self, name: str) -> float | None:
        """One of ``SCORES`` over the whole reported part."""
        value = self.report["summary"].get(name)
        return value.get("mean") if isinstance(value, dict) else value

    def patients(self) -> dict[str, float]:
        """The score of each patient, or picture, that has one: Dice of its volumes, IoU of a picture."""
        score = "dice" if self.cell.dataset == "acdc" else "iou"
        found: dict[str, list[float]] = {}
        for case in self.report["cases"]:
            if case[score]["mean"] is not None:
                found.setdefault(case.get("patient") or case["case"], []).append(case[score]["mean"])
        return {patient: float(np.mean(values)) for patient, values in found.items()}


def labels_in_words(labels: str) -> str:
    """As a reader wants it: 20 %, 3 patients."""
    return f"{labels[:-1]} patients" if labels.endswith("p") else f"{labels} %"


def finished(path: Path) -> dict[str, Any]:
    """What a run's finished.json says.

    Raises:
        InputError: names the file that is damaged.
    """
    return _holding(path, "report", "command", "settings")


def _holding(path: Path, *keys: str) -> dict[str, Any]:
    content = read_json(path)
    if missing := [key for key in keys if key not in content]:
        raise InputError(
            f"{path} is damaged (it has no {missing[0]}): take it away, and give the table's command again"
        )
    return content


def finished_runs(out: Path) -> list[Finished]:
    """All there are below a folder, as the tables order them."""
    found: list[Finished] = []
    for path in sorted(out.glob("*/labels_*/*/seed_*/finished.json")):
        record = finished(path)
        report = path.parent / record["report"]
        dataset, labels, method, seed = path.parent.relative_to(out).parts
        cell = Cell(dataset, labels.removeprefix("labels_"), method, int(seed.removeprefix("seed_")))
        if report.is_file() and dataset in SCORES and method in METHODS + ABLATIONS:
            found.append(Finished(cell, record["command"], _holding(report, "summary", "cases"), report.parent))
    methods = METHODS + ABLATIONS
    return sorted(
        found,
        key=lambda run: (
            [*SCORES].index(run.cell.dataset),
            methods.index(run.cell.method),
            _order(run.cell.labels),
            run.cell.seed,
        ),
    )


def write(out: Path, images: bool = True) -> str:
    """Write table.md, table.csv, table.json and a panel for each data set into ``out``; the tables as text.

    Args:
        out: the folder of the runs.
        images: whether panels show the data set's images and masks, or what the networks made alone.

    Raises:
        InputError: no run below it is finished.
    """
    runs = finished_runs(out)
    if not runs:
        raise InputError(f"{out} holds no finished run: give the --out folder of a semicycle table")
    rows, notes = (
        table_rows(runs),
        sorted({run.report[key] for run in runs for key in ("note", "protocol") if run.report.get(key)}),
    )
    apart = all(run.report.get("part") == "test" and not run.report.get("protocol") for run in runs)
    text = "\n\n".join([markdown(rows), "\n".join([INCOMPARABLE, *([HERE] if apart else []), *notes])]) + "\n"
    commands = [f"# {run.cell}\n{run.command}" for run in runs]
    foot = ["", "Commands (training; each was evaluated after it):", "", "```", *commands, "```", ""]
    write_text(out / "table.md", text + "\n".join(foot))
    write_text(out / "table.csv", _csv(rows))
    content = {"rows": rows, "incomparable": INCOMPARABLE, "notes": notes}
    write_text(out / "table.json", json.dumps(content, indent=1) + "\n")
    for dataset in dict.fromkeys(run.cell.dataset for run in runs):
        _draw(out / f"panel_{dataset}.png", [run for run in runs if run.cell.dataset == dataset], images)
    return text


def table_rows(runs: Sequence[Finished]) -> list[dict[str, Any]]:
    """A row for each line of both tables, with None where nothing has been run."""
    rows = []
    for dataset in [name for name in SCORES if any(run.cell.dataset == name for run in runs)]:
        here = {(run.cell.method, run.cell.labels) for run in runs if run.cell.dataset == dataset}
        wanted = {key for key in here | PAPER.keys() if key[0] in METHODS}
        for method, labels in sorted(wanted, key=lambda key: (METHODS.index(key[0]), _order(key[1]))):
            rows.append(_row(1, dataset, method, labels, runs))
        for labels in sorted({labels for method, labels in here if method in ABLATIONS}, key=_order):
            ablated = [run for run in runs if (run.cell.dataset, run.cell.labels) == (dataset, labels)]
            seeds = {run.cell.seed for run in ablated if run.cell.method in ABLATIONS}
            beside = [run for run in ablated if run.cell.seed in seeds]  # all terms by the same seeds
            rows += [_row(2, dataset, method, labels, beside) for method in ("semicycle", *ABLATIONS)]
    return rows


def _order(labels: str) -> tuple[bool, float]:
    """From many labels to few, percentages first."""
    return labels.endswith("p"), -float(labels.removesuffix("p"))


def _row(table: int, dataset: str, method: str, labels: str, runs: Sequence[Finished]) -> dict[str, Any]:
    def seeds(method: str) -> dict[int, Finished]:
        key = (dataset, labels, method)
        return {run.cell.seed: run for run in runs if (run.cell.dataset, run.cell.labels, run.cell.method) == key}

    own = seeds(method)
    row: dict[str, Any] = {"table": table, "dataset": dataset, "method": method, "labels": labels, "seeds": [*own]}
    for score in SCORES[dataset]:
        values = [run.score(score) for run in own.values()]
        mean, std, number = mean_and_std([value for value in values if value is not None])
        row[score] = mean if number else None
        row[f"{score}_std"] = std if number > 1 else None
    row["published"] = PAPER.get((method, labels), {}).get(dataset)
    if table == 1 and method == "semicycle":
        row |= compare(own, seeds("partial"))
    return row


def compare(ours: Mapping[int, Finished], others: Mapping[int, Finished]) -> dict[str, Any]:
    """What runs by seed gain over others in the main score, and a paired Wilcoxon signed-rank test over patients.

    Only the seeds of both count. A patient, or picture, is one pair: the mean over its volumes and over the seeds that
    report it, because neither are independent. p is None where all pairs are ties.
    """
    gains: list[float] = []
    pairs: dict[str, list[tuple[float, float]]] = {}
    for seed in sorted(ours.keys() & others.keys()):
        main = next(iter(SCORES[ours[seed].cell.dataset]))
        mine, theirs = ours[seed].score(main), others[seed].score(main)
        if mine is not None and theirs is not None:
            gains.append(mine - theirs)
        one, two = ours[seed].patients(), others[seed].patients()
        for patient in one.keys() & two.keys():
            pairs.setdefault(patient, []).append((one[patient], two[patient]))
    means = [tuple(np.mean(values, axis=0).tolist()) for _, values in sorted(pairs.items())]
    return {"gain": float(np.mean(gains)) if gains else None, "p": _wilcoxon(means), "n": len(means) or None}


def _wilcoxon(pairs: Sequence[tuple[float, ...]]) -> float | None:
    if all(a == b for a, b in pairs):
        return None
    from scipy.stats import wilcoxon

    return float(wilcoxon(*zip(*pairs, strict=True)).pvalue)


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Both tables for each data set."""
    parts = []
    for table, dataset in dict.fromkeys((row["table"], row["dataset"]) for row in rows):
        chosen = [row for row in rows if (row["table"], row["dataset"]) == (table, dataset)]
        heads = ["terms" if table == 2 else "method", "labels", "seeds", *SCORES[dataset].values(), "paper"]
        heads += ["gain over partial", "paired Wilcoxon test"] if table == 1 else []
        lines = [f"## Table {table}: {dataset}", "", _line(heads), "|---" * len(heads) + "|"]
        parts.append("\n".join([*lines, *(_line(_words(row)) for row in chosen)]))
    return "\n\n".join(parts)


def _line(words: Iterable[str]) -> str:
    return "| " + " | ".join(words) + " |"


def _words(row: Mapping[str, Any]) -> list[str]:
    """A row as the words of its columns."""
    name = WORDS[row["method"]] if row["table"] == 2 else row["method"]
    words = [name, labels_in_words(row["labels"]), str(len(row["seeds"]) or "-")]
    for score in SCORES[row["dataset"]]:
        mean, std = row[score], row[f"{score}_std"]
        words.append("-" if mean is None else f"{mean:.4f}" if std is None else f"{mean:.4f} ± {std:.4f}")
    words.append("-" if row["published"] is None else f"{row['published']:.4f}")
    if row["table"] == 1:
        gain, p = row.get("gain"), row.get("p")
        words.append("-" if gain is None else f"{gain:+.4f}")
        words.append("-" if p is None else f"p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}, n = {row['n']}")
    return words


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO(newline="")
    heads = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, heads, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(dict(row) | {"seeds": " ".join(map(str, row["seeds"]))} for row in rows)
    return text.getvalue()


# the panel


def side_by_side(runs: Sequence[Finished]) -> dict[str, Finished]:
    """The runs to lay beside each other, by column title: with the fewest labels that most methods share, or 20 %."""
    drawn = [run for run in runs if (run.folder / "panel.npz").is_file()]
    methods: dict[str, set[str]] = {}
    for run in drawn:
        if run.cell.method in ("partial", "hung", "semicycle"):
            methods.setdefault(run.cell.labels, set()).add(run.cell.method)
    most = [labels for labels in methods if len(methods[labels]) == max(map(len, methods.values()))]
    labels = "20" if "20" in most else max(most, key=_order, default="100")
    columns = {}
    for method, of in (("partial", labels), ("hung", labels), ("semicycle", labels), ("full", "100")):
        found = [run for run in drawn if (run.cell.method, run.cell.labels) == (method, of)]
        if found:
            columns[f"{method}, {labels_in_words(of)}"] = min(found, key=lambda run: run.cell.seed)
    return columns


def _draw(path: Path, runs: Sequence[Finished], images: bool) -> None:
    """One data set's panel; none where the runs have no case in common."""
    columns = side_by_side(runs)
    panels = {title: _panel(run.folder / "panel.npz") for title, run in columns.items()}
    names = [name for name in next(iter(panels.values()), {}) if all(name in panel for panel in panels.values())]
    if names:
        report = next(iter(columns.values())).report
        panel_figure(names, panels, report["classes"], report["colours"], images).savefig(path, dpi=DPI)


def _panel(path: Path) -> dict[str, Shown]:
    """The cases of a panel.npz by name."""
    with np.load(path) as arrays:
        names = [str(name) for name in arrays["names"]]
        return {name: Shown(*(arrays[f"{key}_{n}"] for key in Shown._fields)) for n, name in enumerate(names)}


def panel_figure(
    names: Sequence[str],
    panels: Mapping[str, Mapping[str, Shown]],
    classes: Sequence[str],
    colours: Sequence[Sequence[int]],
    images: bool = True,
) -> Figure:
    """A row a case: the image, the truth over it, and each method's prediction over it; or predictions alone."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    first = next(iter(panels.values()))
    background = int(classes[0] == "background")
    columns = [*(["image", "truth"] if images else []), *panels]
    masks: dict[str, list[NDArray | None]] = {
        name: [*([None, first[name].truth] if images else []), *(panel[name].prediction for panel in panels.values())]
        for name in names
    }
    present = np.unique(np.concatenate([mask.ravel() for row in masks.values() for mask in row if mask is not None]))
    legend = [Patch(color=_fraction(colours[k]), label=classes[k]) for k in present if background <= k < len(classes)]
    height, width = first[names[0]].image.shape[:2]
    tall = len(names) * COLUMN * height / width + 0.4 + 0.25 * -(-len(legend) // LEGEND)
    figure = Figure(figsize=(COLUMN * len(columns), tall), layout="constrained")
    axes = figure.subplots(len(names), len(columns), squeeze=False)
    for row, name in zip(axes, names, strict=True):
        for axis, mask in zip(row, masks[name], strict=True):
            under = first[name].image if images else np.zeros_like(first[name].image)
            axis.imshow(paint(under, mask, colours, background))
            axis.set(xticks=[], yticks=[])
        fits = max(8, int(22 * height / width))  # letters along the picture's side
        row[0].set_ylabel(name if len(name) <= fits else f"…{name[-fits:]}", fontsize=7)
    for axis, title in zip(axes[0], columns, strict=True):
        axis.set_title(title, fontsize=9)
    if legend:
        figure.legend(handles=legend, loc="outside lower center", ncols=LEGEND, fontsize=8, frameon=False)
    return figure


def _fraction(colour: Sequence[int]) -> tuple[float, float, float]:
    red, green, blue = (value / 255 for value in colour)
    return red, green, blue


def paint(image: NDArray, mask: NDArray | None, colours: Sequence[Sequence[int]], background: int) -> NDArray:
    """A picture [H, W] or [H, W, 3] with the classes of a mask over it: from ``background`` (how many classes are
    left unpainted) on; 255 is no class."""
    picture = np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else image.copy()
    if mask is not None:
        shown = (mask >= background) & (mask < len(colours))
        picture[shown] = (1 - ALPHA) * picture[shown] + ALPHA * np.asarray(colours)[mask[shown]]
    return picture
