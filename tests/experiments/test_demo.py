"""The whole loop on drawn hearts: every command of it works, and it continues where it was stopped."""

import json

import pytest
from processes import run as run_program

from acdc_semicycle.experiments import demo
from acdc_semicycle.runtime.errors import InputError

TINY = ["--epochs=1", "--steps_per_epoch=2"]


def _run(words, folder):
    """A command of the demo, in a process that has its libraries already."""
    done = run_program("-m", "acdc_semicycle", *words, cwd=folder, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.returncode


@pytest.mark.slow
def test_every_step_works_and_the_page_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "PATIENTS", 6)
    monkeypatch.setattr(demo, "NEW", 1)
    folder = tmp_path / "demo"
    lines = list(demo.tell(folder, TINY, _run))
    assert (folder / "second" / "report.html").is_file() and lines[-1] == str(folder / "second" / "report.html")
    summary = lines[-3].strip().splitlines()[1:]
    means = []
    for name in ("before", "first", "second"):
        evaluation = json.loads((folder / name / "evaluation.json").read_text())
        means.append(evaluation["summary"][name]["dice"]["mean"])
    assert [line.split()[0] for line in summary] == [f"{mean:.3f}" for mean in means]
    assert means[0] > 0.5, "the pretrained network finds drawn hearts"
    first, second = (json.loads((folder / "runs" / name / "split.json").read_text()) for name in ("first", "second"))
    assert len(first["labelled"]) == 3 and len(second["labelled"]) == 5
    assert not list((folder / "new").rglob("*_gt*")) and len(list((folder / "new").iterdir())) == 1


@pytest.fixture
def few_patients(monkeypatch):
    """Drawing takes a fifth of a second a patient."""
    monkeypatch.setattr(demo, "PATIENTS", 1)
    monkeypatch.setattr(demo, "NEW", 1)


@pytest.mark.usefixtures("few_patients")
def test_a_demo_that_failed_continues_with_that_step(tmp_path):
    folder, calls = tmp_path / "demo", []

    def fail_at_plan(words, cwd):
        calls.append(words[0])
        return 1 if words[0] == "plan" else 0

    with pytest.raises(InputError, match="step 2 of the demo ended with exit code 1"):
        list(demo.tell(folder, (), fail_at_plan))
    with pytest.raises(InputError, match="step 2"):
        list(demo.tell(folder, (), fail_at_plan))
    assert calls == ["predict", "plan", "plan"]


@pytest.mark.usefixtures("few_patients")
@pytest.mark.parametrize("code", [75, 130])
def test_a_demo_that_is_stopped_ends_as_its_step_does(tmp_path, code):
    with pytest.raises(KeyboardInterrupt if code == 130 else SystemExit):
        list(demo.tell(tmp_path / "demo", (), lambda words, cwd: code))


@pytest.mark.usefixtures("few_patients")
def test_other_options_need_another_folder(tmp_path):
    folder = tmp_path / "demo"
    with pytest.raises(InputError):
        list(demo.tell(folder, (), lambda words, cwd: 1))
    with pytest.raises(InputError, match="give the same, or another folder"):
        list(demo.tell(folder, TINY, lambda words, cwd: 1))


def test_a_folder_of_something_else_is_not_touched(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is there, and is no demo"):
        list(demo.tell(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
