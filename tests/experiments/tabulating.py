"""What the tests of the tables share: finished runs made by hand, and a row of their table."""

import json
from pathlib import Path

from acdc_semicycle.experiments.results import Cell

ROOT = Path(__file__).parents[2]


def finish(out, dataset, labels, method, seed, cases, scores=None, note=None):
    """A finished run made by hand; ``scores`` of the summary, by default the mean of the cases."""
    folder = out / Cell(dataset, labels, method, seed).subfolder / "test"
    folder.mkdir(parents=True)
    known = [value for value in cases.values() if value is not None]
    mean = sum(known) / len(known)
    summary = {"dice": {"mean": mean}, "iou": {"mean": mean - 0.1}, "miou": mean + 0.1, "paper_miou": mean + 0.2}
    report = {
        "summary": summary | (scores or {}),
        "cases": [
            {
                "case": name,
                "dice": {"mean": value if dataset == "acdc" else None},
                "iou": {"mean": None if dataset == "acdc" else value},
            }
            for name, value in cases.items()
        ],
        "note": note,
        "part": "test",
        "postprocessing": "the network's label maps as they are",
        "classes": ["background", "a", "b"],
        "colours": [[0, 0, 0], [255, 0, 0], [0, 0, 255]],
    }
    (folder / "report.json").write_text(json.dumps(report))
    record = {"report": "test/report.json", "command": f"the command of {method} {seed}", "settings": [], "seconds": 1}
    (folder.parent / "finished.json").write_text(json.dumps(record))
    return folder


def row(out, method, labels, number=1):
    rows = json.loads((out / "table.json").read_text())["rows"]
    (found,) = [r for r in rows if (r["table"], r["method"], r["labels"]) == (number, method, labels)]
    return found
