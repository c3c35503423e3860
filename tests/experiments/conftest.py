"""A stand-in for the bundle, and the table's command run with it."""

import sys

import pytest

from acdc_semicycle.experiments import command, grid

FAKE = '''"""Stands in for python -m monai.bundle: epochs, and a report whose score is 0.5 + seed / 10."""
import json, os, sys, time
from pathlib import Path

run_id, words = sys.argv[2], sys.argv[3:]
given = dict(zip(words[::2], words[1::2]))
out, epochs = Path(given["--output_dir"]), int(given.get("--epochs", 2))
out.mkdir(parents=True, exist_ok=True)
with open(out / "processes", "a") as stream:
    stream.write(f"{run_id} {os.getpid()} {os.environ.get('OMP_NUM_THREADS')}\\n")
if "--broken" in given and given["--broken"] in str(out):
    sys.exit("error: an old one of another line\\nerror: the scan is bent\\nthe end")
if run_id == "probing":
    print(json.dumps(dict(step_seconds=0.5, steps=100, validation_seconds=2, validations=4, start_seconds=3)))
elif run_id == "training":
    curve = out / "learning_curve.csv"
    rows = curve.read_text() if curve.is_file() else "epoch\\n"
    for epoch in range(rows.count("\\n"), epochs + 1):
        time.sleep(float(given.get("--pause", 0)))
        rows += f"{epoch}\\n"
        (out / "part").write_text(rows)
        (out / "part").replace(curve)
        print(f"12:00:00 epoch {epoch}/{epochs}, 0:00:01 left: gen_S 1", file=sys.stderr, flush=True)
else:
    score = 0.5 + int(given["--seed"]) / 10
    (out / "test").mkdir(exist_ok=True)
    summary = dict(dice=dict(mean=score), iou=dict(mean=score), miou=score, paper_miou=score)
    (out / "test" / "report.json").write_text(json.dumps(dict(summary=summary, cases=[])))
    print(out / "test" / "report.json")
'''


@pytest.fixture(autouse=True)
def no_data_in_the_environment(monkeypatch):
    for name in grid.FOLDERS.values():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("SEMICYCLE_CACHE", "")  # so that what a test sets is taken back
    monkeypatch.delenv("SEMICYCLE_CACHE")


@pytest.fixture
def fake_text():
    """The text of the stand-in."""
    return FAKE


@pytest.fixture
def fake(tmp_path):
    """The stand-in; the data folder and the output folder lie beside it."""
    (tmp_path / "data").mkdir()
    path = tmp_path / "fake.py"
    path.write_text(FAKE)
    return path


@pytest.fixture
def run(fake, tmp_path, monkeypatch):
    """Run the command in this process with the stand-in: its exit code."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)

    def main(spec, *arguments):
        only = ["--only", spec] if spec else []
        words = ["--data", f"acdc={tmp_path / 'data'}", "--out", str(tmp_path / "out"), *only, *arguments]
        return command.main(words, [sys.executable, str(fake)])

    return main
