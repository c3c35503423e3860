"""Runs' folders made by hand, as a training leaves them."""

import json
from pathlib import Path

CLASSES = ["background", "RV", "LV"]
CONFIG = {"dataset": "hearts", "seed": 0, "learning_rate": 0.001, "optimizer": {"lr": "@learning_rate"}}
CARD = {"dataset": "hearts", "classes": CLASSES, "epoch": 3, "epochs": 3, "steps": 30, "keep": "last"}


def case_row(patient: str, dice: float, phase: str = "ED", part: str | None = "held out") -> dict:
    scores = {"mean": dice, "RV": dice - 0.1, "LV": dice + 0.1}
    row = {"case": f"{patient}_{phase}", "patient": patient, "phase": phase, "dice": scores, "iou": scores}
    return row | ({"part": part} if part else {})


def write_report(folder: Path, scores: dict[str, float], part="validation", of_cases="held out", **changes) -> Path:
    """A report.json of these patients' Dice."""
    cases = [case_row(patient, dice, part=of_cases) for patient, dice in scores.items()]
    content = {"part": part, "dataset": "hearts", "method": "Supervised", "main": "dice", "classes": CLASSES}
    content |= {"cases": cases, "seed": 0, "weights": {"gen_S": 1.0}, "note": None} | changes
    path = folder / part / "report.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_run(folder: Path, scores: dict[str, float] | None = None, config: dict | None = None, **card) -> Path:
    """A run of three epochs; ``config`` changes its configuration."""
    import yaml

    (folder / "models").mkdir(parents=True)
    (folder / "models" / "model.json").write_text(json.dumps(CARD | card))
    (folder / "models" / "model.pt").write_bytes(b"")
    split = {"labelled": ["x", "y"], "unlabelled": ["z"], "validation": list(scores or {}), "test": []}
    (folder / "split.json").write_text(json.dumps(split))
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG | (config or {}), sort_keys=False))
    (folder / "learning_curve.csv").write_text("epoch,gen_S,dice\n1,0.9,\n2,0.8,0.5\n3,0.7,0.6\n")
    if scores:
        write_report(folder, scores)
    return folder


def write_events(run: Path, start: float, epochs: dict[int, float], validated: tuple[int, ...] = ()) -> None:
    """A session's TensorBoard file: the seconds after its start at which each epoch's scalars were written."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    folder = run / "tensorboard"
    before = set(folder.glob("*")) if folder.is_dir() else set()
    writer = EventFileWriter(str(folder), filename_suffix=f".{start:.0f}")
    writer.add_event(Event(wall_time=start, step=0))
    for epoch, seconds in epochs.items():
        for tag in ["train/gen_S", *["validation/dice"] * (epoch in validated)]:
            value = Summary.Value(tag=tag, simple_value=1.0)
            writer.add_event(Event(wall_time=start + seconds, step=epoch, summary=Summary(value=[value])))
    writer.close()
    (path,) = set(folder.glob("*")) - before
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")  # of the first record, which has the time of now
    path.write_bytes(content[8 + 4 + length + 4 :])
