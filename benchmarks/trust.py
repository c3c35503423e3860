"""How honest the expected Dice is: its error, its intervals, and the probabilities before and after the temperature.

    python benchmarks/trust.py --model RUN --dataset_dir ACDC --cases cases.json [--draws 40] [--picture P.png]
    python benchmarks/trust.py --short

The patients whom the network was not trained on with masks are segmented once, as ``semicycle predict`` does; what is
kept of each is in ``cases.json``, which a second run takes. Then 3, 7 and 14 of them are drawn, many times: the fit is
made on these, and measured on the others. The ones of the validation list have rows of their own. The row "line" is the
quality of before: a straight line from ``soft_dice`` to the Dice, fitted on the same patients. ``--short`` draws
cases instead of segmenting any.

The expected calibration error (15 bins) is that of voxels which a structure has, or to which the network gives a
structure with more than 0.001.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import machine, table

from acdc_semicycle import Segmenter
from acdc_semicycle.datasets import acdc
from acdc_semicycle.evaluation import trust, trust_fit
from acdc_semicycle.evaluation.metrics import confusion, counts, dice
from acdc_semicycle.imageio import volumes
from acdc_semicycle.inference.postprocessing import on_own_grid

PATIENTS = (3, 7, 14)
BINS = 15
ECE_AT = (1.0, 1.5, 2.0, 2.25, 2.5, 3.0, 3.4)
KINDS = ("scan", "slice", "volume", "EF")
Case = dict[str, Any]
Row = tuple[float, float, float, float]  # expected, true, low, high


def segmented(model: Path, dataset_dir: Path) -> list[Case]:
    """What is kept of every patient whom the network was not trained on with masks."""
    split = json.loads((model / "split.json").read_text())
    part_of = {patient: part for part in ("validation", "unlabelled") for patient in split[part]}
    segment, cases = Segmenter(model, cycle=False), []
    for record in acdc.records(dataset_dir):
        if record.patient in part_of:
            frame = segment(record.image)._frames[0]
            truth = volumes.read(record.label, mask=True)
            case = case_of(frame.network_probabilities, frame.labels, truth.layout.apply(truth.voxels)[..., 0])
            cases.append(case | {"patient": record.patient, "phase": record.phase, "part": part_of[record.patient]})
    return cases


def case_of(s: torch.Tensor, labels: np.ndarray, truth: np.ndarray) -> Case:
    """What is kept of probabilities [K, h, w, slices], their label map and the truth [H, W, slices]."""
    pair = [torch.as_tensor(np.ascontiguousarray(array).astype(np.uint8)) for array in (labels, truth)]
    tp, fp, fn = counts(confusion(*pair, len(s)))[1:].unbind(-1)
    by_slice = []
    for z in range(truth.shape[2]):
        value = float(dice(counts(confusion(*(array[..., z] for array in pair), len(s)))[1:]).nanmean())
        by_slice.append(None if np.isnan(value) else value)
    found, true = (tp + fp).tolist(), (tp + fn).tolist()
    return {
        "evidence": trust.evidence(s),
        "dice": float(dice(counts(confusion(*pair, len(s)))[1:]).nanmean()),
        "dice_by_slice": by_slice,
        "volume_ratio": [p / t if p and t else None for p, t in zip(found, true, strict=True)],
        "voxels": [found, true],
        "reliability": reliability(s, pair[1]),
    }


def reliability(s: torch.Tensor, truth: torch.Tensor) -> list[list[list[float]]]:
    """Of each temperature and bin: the voxels, the sum of their largest probabilities, and how many are right."""
    own = torch.cat([*on_own_grid(s.movedim(-1, 0).contiguous(), truth.shape)]).movedim(0, -1)
    doubtful = (own[1:].sum(0) >= trust.CERTAIN) | (truth > 0)
    s_doubtful, right_class, rows = own[:, doubtful], truth[doubtful], []
    for temperature in ECE_AT:
        largest = trust.scaled(s_doubtful, temperature).max(0)
        bins = (largest.values * BINS).long().clamp_max(BINS - 1)
        right = (largest.indices == right_class).double()
        sums = [torch.bincount(bins, weights, BINS) for weights in (None, largest.values.double(), right)]
        rows.append([values.tolist() for values in sums])
    return rows


def drawn(patients: int, seed: int) -> list[Case]:
    """Cases that no network made, for a short run."""
    random, cases = np.random.default_rng(seed), []
    for number in range(patients):
        own = random.normal(0, 0.3)
        for phase, voxels in (("ED", 1000.0), ("ES", 500.0)):
            levels = random.uniform(-2.6, -1.2, 5)
            expected = [[float(1.02 - np.exp(level + 0.6 * np.log(t))) for t in trust.TEMPERATURES] for level in levels]
            true = [float(np.clip(1.02 - np.exp(level + 0.42 + own), 0, 1)) for level in levels]
            ratio = float(np.exp(own * (1 - true[0])))
            evidence = {"scan": expected[0], "structures": [expected[0]] * 3, "slices": expected[1:]}
            names = {"patient": f"p{number}", "phase": phase, "part": "validation" if number % 4 == 0 else "unlabelled"}
            truth = {"dice": true[0], "dice_by_slice": true[1:], "volume_ratio": [ratio] * 3}
            sizes = [[voxels * ratio] * 3, [voxels] * 3]
            cases.append(names | truth | {"evidence": evidence, "voxels": sizes, "reliability": None})
    return cases


def rows_of(fit: trust.Fit, cases: Sequence[Case]) -> dict[str, list[Row]]:
    """Expected and true values with their intervals, of scans, slices, volumes and ejection fractions."""
    rows: dict[str, list[Row]] = {kind: [] for kind in KINDS}
    volumes_of: dict[tuple[str, int], dict[str, Row]] = {}
    for case in cases:
        expected = trust.trust(fit, case["evidence"])
        if expected is None:
            continue
        rows["scan"].append((expected["dice"], case["dice"], expected["low"], expected["high"]))
        for item, true in zip(expected["slices"], case["dice_by_slice"], strict=True):
            if item is not None and true is not None:
                rows["slice"].append((item["dice"], true, item["low"], item["high"]))
        for number, (found, true) in enumerate(zip(*case["voxels"], strict=True)):
            interval = trust.volume_interval(fit, case["evidence"], number + 1, found)
            if interval and found and true:
                volumes_of.setdefault((case["patient"], number), {})[case["phase"]] = (found, true, *interval)
                rows["volume"].append((1.0, true / found, interval[0] / found, interval[1] / found))
    for (_, number), phases in volumes_of.items():
        if number != 1 and len(phases) == 2:  # both ventricles, not the myocardium
            (edv, true_edv, *ed), (esv, true_esv, *es) = phases["ED"], phases["ES"]
            interval = trust.ef_interval(edv, esv, ed, es)
            if interval:
                rows["EF"].append((100 - 100 * esv / edv, 100 - 100 * true_esv / true_edv, *interval))
    return rows


def line_error(fitted_on: Sequence[Case], cases: Sequence[Case]) -> list[float]:
    """The errors of a straight line from soft_dice to the Dice."""
    pairs = [(case["evidence"]["scan"][0], case["dice"]) for case in fitted_on if case["evidence"]["scan"]]
    line = np.polyfit(*np.array(pairs).T, 1)
    errors = []
    for case in cases:
        if case["evidence"]["scan"]:
            expected = np.clip(np.polyval(line, case["evidence"]["scan"][0]), 0, 1)
            errors.append(float(abs(expected - case["dice"])))
    return errors


def measured(cases: Sequence[Case], number: int, draws: int, seed: int) -> tuple[list[list[str]], list[float]]:
    """The rows of the table for fits on so many patients, and the temperatures."""
    others_pool = [case for case in cases if case["part"] != "validation"]
    names = sorted({case["patient"] for case in others_pool})
    random, temperatures = np.random.default_rng(seed), []
    rows: dict[str, dict[str, list[Row]]] = {"unseen": {}, "validation": {}}
    errors: dict[str, list[float]] = {"unseen": [], "validation": []}
    for _ in range(draws):
        chosen = set(random.permutation(names)[:number].tolist())
        own = [case for case in others_pool if case["patient"] in chosen]
        fit = trust_fit.fit(own)
        temperatures.append(fit["temperature"])
        parts = {
            "unseen": [case for case in others_pool if case["patient"] not in chosen],
            "validation": [case for case in cases if case["part"] == "validation"],
        }
        for part, part_cases in parts.items():
            errors[part] += line_error(own, part_cases)
            for kind, items in rows_of(fit, part_cases).items():
                rows[part].setdefault(kind, []).extend(items)
    lines = []
    for part, by_kind in rows.items():
        for kind in KINDS:
            lines.append([f"ours, {kind}", str(number), part, *in_words(by_kind[kind], 1 if kind == "EF" else 3)])
        lines.append(["line, scan", str(number), part, f"{np.mean(errors[part]):.3f}", "", "", ""])
    return lines, temperatures


def in_words(rows: Sequence[Row], digits: int) -> list[str]:
    """Mean absolute error, share in the interval, share below it, and the interval's median width."""
    expected, true, low, high = np.array(rows).T
    inside = (low <= true) & (true <= high)
    numbers = [f"{np.abs(expected - true).mean():.{digits}f}", f"{100 * inside.mean():.0f} %"]
    return [*numbers, f"{100 * (true < low).mean():.0f} %", f"{np.median(high - low):.{digits}f}"]


def ece_table(cases: Sequence[Case]) -> str:
    """The expected calibration error at each temperature."""
    total = np.sum([case["reliability"] for case in cases], axis=0)
    rows = []
    for temperature, (voxels, confidence, right) in zip(ECE_AT, total, strict=True):
        error = np.abs(confidence - right).sum() / voxels.sum()
        rows.append([f"{temperature:g}", f"{error:.4f}"])
    return table(["temperature", "expected calibration error"], rows)


def draw_picture(path: Path, cases: Sequence[Case], seed: int) -> None:
    """Expected against true Dice of scans, with intervals, by a fit on 7 patients."""
    from matplotlib import pyplot

    names = sorted({case["patient"] for case in cases if case["part"] != "validation"})
    chosen = set(np.random.default_rng(seed).permutation(names)[:7].tolist())
    fit = trust_fit.fit([case for case in cases if case["patient"] in chosen])
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 5), sharex=True, sharey=True)
    rows = rows_of(fit, [case for case in cases if case["patient"] not in chosen])
    for axis, kind in zip(axes, ("scan", "slice"), strict=True):
        expected, true, low, high = np.array(rows[kind]).T
        axis.errorbar(expected, true, xerr=[expected - low, high - expected], fmt="o", ms=3, lw=0.6, alpha=0.5)
        axis.plot([0, 1], [0, 1], "k-", lw=0.8)
        axis.set(xlabel="expected Dice, with its interval of 80 %", ylabel="true Dice", title=f"each {kind}")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a run's folder")
    parser.add_argument("--dataset_dir", type=Path, help="ACDC, as the run was trained on")
    parser.add_argument("--cases", type=Path, help="where what is kept is written, or already is")
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--short", action="store_true", help="drawn cases and two draws, to try it")
    options = parser.parse_args()
    print(f"{machine('cpu')}, seed {options.seed}")
    if options.short:
        cases, draws = drawn(24, options.seed), 2
    elif options.cases is not None and options.cases.is_file():
        cases, draws = json.loads(options.cases.read_text()), options.draws
    elif options.cases is None or options.model is None or options.dataset_dir is None:
        parser.error("give --model, --dataset_dir and --cases, or --short")
    else:
        cases, draws = segmented(options.model, options.dataset_dir), options.draws
        options.cases.write_text(json.dumps(cases))
    patients = {part: len({c["patient"] for c in cases if c["part"] == part}) for part in ("unlabelled", "validation")}
    print(f"{patients['unlabelled']} unseen and {patients['validation']} validation patients, {draws} draws")
    rows, temperatures = [], []
    for number in PATIENTS:
        own_rows, own = measured(cases, number, draws, options.seed)
        rows += own_rows
        temperatures.append(f"{number} patients {np.mean(own):.2f} ± {np.std(own):.2f}")
    print(table(["", "fitted on", "measured on", "mean error", "in the interval", "below it", "width"], rows))
    print(f"fitted temperatures: {', '.join(temperatures)}")
    if cases[0]["reliability"] is not None:
        print(ece_table(cases))
    if options.picture is not None:
        draw_picture(options.picture, cases, options.seed)


if __name__ == "__main__":
    main()
