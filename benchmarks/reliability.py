#!/usr/bin/env python
"""How reliable ours is beside stock SimpleITK and stock MONAI: one table, and one JSON with every failure by name.

    python benchmarks/reliability.py [--out FOLDER] [--short]

All inputs are made here, good ones among the bad, so neither to take everything nor to refuse everything is a score. A
cell is the number of cases that end well, of all. ``--short`` does fewer of each, without the trainings, in a minute on
one core. Linux only: what is tried is forked, limited and killed. MONAI is as installed here, with nibabel; NRRD and
MetaImage it reads with the package itk besides. In the code's order:

    files       274 odd and bad files (odd_files.py): right voxels at the right place, or refused; then file to mask
    pictures    odd and bad pictures (odd_pictures.py): right pixels, or refused
    series      57 odd and bad DICOM series (odd_series.py), likewise
    damage      one file cut at random places, and with single bits flipped
    headers     random bytes in a header: what is taken up has to be what the header says, or what it said before
    kills       a process that saves checkpoints, killed at random times, at random bytes of a file, around file calls
    places      predictions that are killed where the file system has neither hard links nor locks
    orders      one volume in its 48 orders of storage, in several rotations: one mask in the patient, bit for bit
    pairs       18 bad pairs of an image and a mask: said before the training
    batch       one bad scan among good ones
    linked      an ACDC tree half of whose patients are linked
    sites       patients of two sites that have one number
    single_slices   series of one slice each, and scans and cines of one slice
    trainings   SIGTERM and SIGKILL in the middle, and the outcome of the rerun beside an uninterrupted run's
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from measure import machine, table
from predict import Stock
from readers import FILTERS, SIZE, TOOLS
from reliability_rows.batch import batch
from reliability_rows.bench import Bench, Row
from reliability_rows.damage import damage
from reliability_rows.ended import kills, trainings
from reliability_rows.files import files, pictures, series
from reliability_rows.headers import headers
from reliability_rows.orders import orders
from reliability_rows.pairs import pairs
from reliability_rows.patients import linked, single_slices, sites
from reliability_rows.places import places

from acdc_semicycle.artifacts import weights
from acdc_semicycle.methods.networks import ResidualGenerator

PRINTED = 60  # of the failures of a row; the JSON has all


def main() -> None:
    parts = [files, pictures, series, damage, headers, kills, places, orders, pairs, batch]
    parts += [linked, sites, single_slices, trainings]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/reliability"), help="for the JSON and the table")
    parser.add_argument("--short", action="store_true", help="fewer of everything, and no trainings")
    parser.add_argument("--only", nargs="+", choices=[part.__name__ for part in parts], help="some of the parts")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)  # a forked process has only the thread that forked
    on = machine("cpu")
    print(on)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="reliability") as name:
        torch.manual_seed(0)
        model = Path(name) / "models" / "model.pt"
        weights.save(model, ResidualGenerator(1, 4, filters=FILTERS).state_dict())
        model.with_suffix(".json").write_text(json.dumps({"filters": FILTERS, "image_size": [SIZE, SIZE]}))
        bench = Bench(Path(name), given.short, model, Stock(model, SIZE, FILTERS, "cpu"))
        for part in parts:
            if given.only is None or part.__name__ in given.only:
                since = time.monotonic()
                rows += part(bench)
                print(f"{part.__name__}: {time.monotonic() - since:.0f} s", file=sys.stderr, flush=True)
    write(given.out, rows, on)


def write(folder: Path, rows: Sequence[Row], on: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = [{"row": row} | {tool: cell.as_json() for tool, cell in cells.items()} for row, cells in rows]
    (folder / "reliability.json").write_text(json.dumps({"machine": on, "rows": content}, indent=1) + "\n")
    lines = [[one["row"], *(_words(one.get(tool)) for tool in TOOLS)] for one in content]
    text = table(["cases that end well, of all", *TOOLS], lines)
    (folder / "reliability.md").write_text(f"{on}\n\n{text}\n")
    print(text)
    for one in content:
        failures = [] if one["row"].startswith("-") or "ours" not in one else list(one["ours"]["failures"].items())
        for case, how in failures[:PRINTED]:
            print(ascii(f"ours, {one['row']}: {case}: {how}")[1:-1][:300])
        if len(failures) > PRINTED:
            print(f"... and {len(failures) - PRINTED} more in {folder / 'reliability.json'}")


def _words(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return "—"
    return f"{cell['good']}/{cell['of']}" + (f" ({cell['note']})" if cell["note"] else "")


if __name__ == "__main__":
    main()
