#!/usr/bin/env python
"""What mending a few slices of each draft gains: the truth is put into the slices that ``semicycle next`` names first.

    python benchmarks/slices_to_mend.py RUN DATA [--out FOLDER] [--short]

On all scans of DATA with masks that RUN was not trained on. One row an order of slices, one column a number of them:
the mean Dice of the scans. Random slices are the mean of 20 draws. The best order takes, at each step, the slice whose
truth gains most. The rank correlations tell how well a scan's Dice is known without a truth. What was computed of a
scan is kept in FOLDER, so a second call goes on. ``--short`` does a phantom, by the pretrained network.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measure import machine, table
from numpy.typing import NDArray
from scipy.stats import spearmanr
from tqdm import tqdm

from acdc_semicycle.annotation.assessment import Assessor
from acdc_semicycle.artifacts.known_patients import KnownPatients
from acdc_semicycle.datasets import acdc, phantom
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.imageio import volumes
from acdc_semicycle.runtime.files import write_text

MOST = 5  # slices to mend
DRAWS = 20
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, help="a run's folder")
    parser.add_argument("data", nargs="?", type=Path, help="ACDC")
    parser.add_argument("--out", type=Path, default=Path("runs/slices_to_mend"), help="for the scans and the results")
    parser.add_argument("--short", action="store_true", help="on a phantom")
    given = parser.parse_args()
    if given.short:
        with tempfile.TemporaryDirectory(prefix="slices") as name:
            measure("pretrained", _phantom(Path(name)), Path(name) / "out")
    elif given.data is None:
        parser.error("give RUN and DATA, or --short")
    else:
        measure(given.run, given.data, given.out)


def _phantom(folder: Path) -> Path:
    phantom.write(folder / "phantom", patients=3, size=(32, 32, 6))
    return folder / "phantom"


def measure(run: str | Path, data: Path, out: Path) -> None:
    """Compute what is not there yet, and print and write the table."""
    (out / "scans").mkdir(parents=True, exist_ok=True)
    assessor = Assessor(run)
    known = KnownPatients.of(assessor.model)
    records = [record for record in acdc.records(data) if record.label is not None]
    records = [record for record in records if known.part_of([record.patient, record.case]) != "labelled"]
    for record in tqdm(records, disable=None):
        path = out / "scans" / f"{record.case}.json"
        if not path.exists():
            write_text(path, json.dumps(_of_scan(assessor, record)) + "\n")
    scans = [json.loads((out / "scans" / f"{record.case}.json").read_text()) for record in records]
    report(scans, out, f"{machine('cpu')}; network {assessor.model.path}; seed {SEED}")


def _of_scan(assessor: Assessor, record: Record) -> dict[str, Any]:
    """The order of a scan's slices, what is known without its truth, and what its truth says by class and slice."""
    assessment, segmentation, _ = assessor(record.image)
    labels, truth = segmentation.labels, volumes.read(record.label, mask=True).voxels[..., 0]
    counts = []
    for label in range(1, len(segmentation.classes)):
        mask, true_mask = labels == label, truth == label
        of_class = [(mask & true_mask), mask, true_mask]
        counts.append([voxels.sum((0, 1)).tolist() for voxels in of_class])
    return {
        "case": record.case,
        "patient": record.patient,
        "expected_dice": assessment.dice,
        "disagreement": assessment.disagreement,
        "order": [gain.slice_index for gain in assessment.gains],
        "counts": counts,  # [K - 1, 3, slices]: common, found, true
    }


def dice(counts: NDArray, mended: Sequence[int]) -> float:
    """The mean Dice over classes, with the truth in some slices."""
    common, found, true = (counts[:, number].copy() for number in range(3))
    mended = list(mended)
    common[:, mended] = found[:, mended] = true[:, mended]
    total = found.sum(1) + true.sum(1)
    there = total > 0
    return float((2 * common.sum(1)[there] / total[there]).mean()) if there.any() else 1.0


def curve(counts: NDArray, order: Sequence[int]) -> list[float]:
    """Dice after none, one, two, ... slices."""
    return [dice(counts, order[:number]) for number in range(MOST + 1)]


def best_order(counts: NDArray) -> list[int]:
    """At each step the slice of which the truth gains most."""
    remaining, order = list(range(counts.shape[2])), []
    while remaining and len(order) < MOST:
        after = [dice(counts, [*order, index]) for index in remaining]
        order.append(remaining.pop(int(np.argmax(after))))
    return order


def _random_curve(counts: NDArray, generator: np.random.Generator) -> list[float]:
    draws = [curve(counts, generator.permutation(counts.shape[2]).tolist()) for _ in range(DRAWS)]
    return np.mean(draws, axis=0).tolist()


def report(scans: Sequence[dict[str, Any]], out: Path, about: str) -> None:
    """Print the table, and write it beside the figures."""
    generator = np.random.default_rng(SEED)
    orders: dict[str, Callable[[dict[str, Any], NDArray], list[float]]] = {
        "ours": lambda scan, counts: curve(counts, scan["order"]),
        "random": lambda scan, counts: _random_curve(counts, generator),
        "from the first slice on": lambda scan, counts: curve(counts, range(counts.shape[2])),
        "best (knows the truth)": lambda scan, counts: curve(counts, best_order(counts)),
    }
    curves = {}
    for name, order in orders.items():
        curves[name] = np.mean([order(scan, np.array(scan["counts"], float)) for scan in scans], axis=0).tolist()
    true_dice = [dice(np.array(scan["counts"], float), []) for scan in scans]
    correlations = {
        "expected Dice": _correlation([scan["expected_dice"] for scan in scans], true_dice),
        "disagreement": _correlation([-scan["disagreement"] for scan in scans], true_dice),
    }
    heads = [f"Dice of {len(scans)} scans, slices mended:", *map(str, range(MOST + 1))]
    text = table(heads, [[name, *(f"{value:.3f}" for value in values)] for name, values in curves.items()])
    words = "; ".join(f"{name} {value:.2f}" for name, value in correlations.items())
    text = f"{about}\n\n{text}\n\nRank correlation with the true Dice of the scan: {words}\n"
    print(text)
    content = {"about": about, "scans": len(scans), "curves": curves, "correlations": correlations}
    write_text(out / "slices_to_mend.json", json.dumps(content, indent=1) + "\n")
    write_text(out / "slices_to_mend.md", text)


def _correlation(values: Sequence[float], others: Sequence[float]) -> float:
    return float(spearmanr(values, others).statistic)


if __name__ == "__main__":
    main()
