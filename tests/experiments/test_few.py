"""The table of few annotated patients: which runs it has, the commands of each, and running them."""

import json
import shlex
import sys

import processes
import pytest
from tabulating import ROOT

from acdc_semicycle.experiments import command, few, few_runs, grid, methods

FAKE = '''"""Stands in for semicycle: a report whose score is 0.5 + seed / 10, and label maps with 0.1 more."""
import json, sys
from pathlib import Path

verb, words = sys.argv[1], sys.argv[2:]
options = {word: value for word, value in zip(words, words[1:]) if word.startswith("-")}
out = Path(options.get("--output_dir") or options.get("--pred") or options["--model"])
with open((out.parent if "--pred" in options else out).parent.parent / "verbs", "a") as stream:
    stream.write(f"{verb}\\n")
if verb == "predict" and options.get("--part") == "broken":
    sys.exit(1)
if "--broken" in options and options["--broken"] in str(out) and verb == "train":
    sys.exit("error: the scan is bent")
if "--output_dir" in options:
    part = "validation" if verb == "train" else "test"
    score = 0.5 + int(options["--seed"]) / 10
    (out / part).mkdir(parents=True, exist_ok=True)
    dice = dict(mean=score, RV=score, LV=score)
    content = dict(part=part, classes=["background", "RV", "LV"], summary=dict(dice=dice), cases=[])
    (out / part / "report.json").write_text(json.dumps(content))
    print(out / part / "report.json")
elif verb == "evaluate":
    out.mkdir()
    score = dict(dice=dict(mean=0.6), hd95=dict(mean=4.25), unit="voxels")
    (out / "evaluation.json").write_text(json.dumps(dict(summary=dict(label_maps=score), structures=[])))
    print(out / "evaluation.json")
'''


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Run ``table few`` in this process with the stand-in: its exit code."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    (tmp_path / "data").mkdir()
    (tmp_path / "fake.py").write_text(FAKE)

    def main(spec, *arguments):
        only = ["--only", spec] if spec else []
        words = ["few", "--data", f"acdc={tmp_path / 'data'}", "--out", str(tmp_path / "out"), *only, *arguments]
        return command.main(words, [sys.executable, str(tmp_path / "fake.py")])

    return main


def asked(*specs, **further):
    cells = grid.cells(grid.Options(only=list(specs), few_patients=True, **further))
    return [(c.dataset, c.labels, c.method, c.seed) for c in cells]


def commands(table, capsys, *arguments):
    assert table(*arguments, "--dry-run") == 0
    return [shlex.split(line) for line in capsys.readouterr().out.splitlines()]


def test_labels_count_annotated_patients_and_few_is_a_method():
    cells = [
        ("acdc", "3p", "partial", 0),
        ("acdc", "3p", "few", 0),
        ("acdc", "70p", "partial", 0),
        ("acdc", "70p", "few", 0),
    ]
    assert asked("acdc labels=3,70 method=partial,few") == cells
    assert len(asked()) == 15 and {labels for _, labels, _, _ in asked()} == {"3p", "7p", "14p"}
    assert [method for _, labels, method, _ in asked() if labels == "3p"] == list(few.METHODS)
    assert asked("acdc labels=7", seeds=[0, 1])[:2] == [("acdc", "7p", "partial", 0), ("acdc", "7p", "partial", 1)]


def test_every_shipped_method_with_an_overlay_may_follow_few():
    names = few.overlay_of_each()
    assert {"partial", "mean_teacher", "unimatch", "bcp", "hung"} <= names.keys() and names["few"] is None
    assert not {"full", "no_cycle_S"} & names.keys()
    assert names["semicycle"] == "semicycle" and methods.overlay_of_each()["semicycle"] is None  # of the paper's table


def test_few_is_the_base_wherever_its_file_lies_and_without_it_the_table_is_the_papers(tmp_path):
    data = ["--data", f"acdc={tmp_path}"]
    options = grid.Options.read(["few", *data])
    assert options.few_patients and options.methods == [] and options.overlays == [few_runs.overlay("few")]
    assert grid.Options.read([str(ROOT / "configs" / "few.yaml"), *data]).few_patients
    options = grid.Options.read(["tiny", *data])
    assert not options.few_patients and not options.no_probe


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "voc"], "'voc' is no data set of the table of few annotated patients: give one of acdc"),
        (
            ["--only", "acdc method=full"],
            "'full' is no method that follows few: give one of hung, partial, semicycle, bcp",
        ),
        (["--only", "acdc method=fwe"], "'fwe' is no method that follows few"),
        (["--only", "acdc labels=3p"], "labels=3p is not understood: after few give numbers of annotated patients"),
        (["--only", "acdc labels=0"], "labels=0 is"),
        (["--only", "acdc labels=0.2"], "labels=0.2 is"),
        (["--only", "acdc 3"], "has '3': give labels=3,7,14 or method=partial,few"),
        (["--labelled", "3"], "use --only instead"),
        (["--train_list", "a"], "--train_list alone leaves nobody to score: give --validation_list or --test_list"),
    ],
)
def test_what_is_not_understood_is_one_line(table, capsys, arguments, words, tmp_path):
    assert table("", *arguments) == 2
    text = capsys.readouterr().err
    assert words in text and text.startswith("error: ") and text.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_run_is_the_command_that_a_user_would_type(table, capsys, tmp_path):
    lists = ["--train_list", "train.txt", "--validation_list", "val.txt"]
    lines = commands(table, capsys, "acdc labels=3 method=unimatch,few", "--seeds", "1", *lists, "--epochs", "30")
    data, out = str(tmp_path / "data"), tmp_path / "out/acdc/patients_3"
    assert len(lines) == 6
    for method, names in (("unimatch", ["few", "unimatch"]), ("few", ["few"])):
        target = str(out / method / "seed_1")
        options = ["--output_dir", target, "--dataset_dir", data, "--labelled", "3", "--seed", "1", *lists]
        assert ["semicycle", "train", *names, *options, "--epochs", "30"] in lines
        assert [
            "semicycle",
            "predict",
            data,
            "-o",
            f"{target}/label_maps",
            "--model",
            target,
            "--part",
            "validation",
        ] in lines
        assert ["semicycle", "evaluate", "--pred", f"{target}/label_maps", "--truth", data] in lines


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ([], "test"),
        (["--test", "0"], "validation"),
        (["--train_list", "a", "--validation_list", "b"], "validation"),
        (["--train_list", "a", "--validation_list", "b", "--test_list", "c"], "test"),
    ],
)
def test_test_patients_are_scored_where_there_are_any(table, capsys, options, part):
    lines = commands(table, capsys, "acdc labels=3 method=few", *options)
    assert [line[-1] for line in lines if line[1] == "predict"] == [part]
    verbs = ["train", "evaluate", "predict", "evaluate"] if part == "test" else ["train", "predict", "evaluate"]
    assert [line[1] for line in lines] == verbs
    if part == "test":
        assert lines[1][2:] == lines[0][2:]


def test_a_users_own_method_and_settings_stand_after_few(table, capsys, tmp_path):
    mine, common = tmp_path / "mine.yaml", tmp_path / "short.yaml"
    mine.write_text("objective_def: {_target_: my.Method}\nweights: {gen_S: 1.0}\n")
    common.write_text("epochs: 3\n")
    words = ["few", str(common), str(mine), "--data", f"acdc={tmp_path}", "--only", "acdc labels=3 method=mine,few"]
    assert command.main([*words, "--dry-run"]) == 0
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    trained = [line[2 : line.index("--output_dir")] for line in lines if line[1] == "train"]
    assert trained == [["few", str(common), str(mine)], ["few", str(common)]]


def test_every_run_is_trained_and_scored_and_what_is_finished_is_kept(table, capsys, tmp_path):
    lists = ["--train_list", "a", "--validation_list", "b"]
    assert table("acdc labels=3 method=partial,few", "--seeds", "0,1", *lists) == 0
    shown = capsys.readouterr().out
    verbs = tmp_path / "out/acdc/patients_3/verbs"
    assert verbs.read_text().split() == ["train", "predict", "evaluate"] * 4
    assert "| 3 | few | 2 | 0.550 ± 0.071 | 0.550 ± 0.071 | 0.550 ± 0.071 | 0.600 ± 0.000 | 4.2 ± 0.0 voxels |" in shown
    assert "4/4 runs" in shown and "probing" not in shown
    record = json.loads((tmp_path / "out/acdc/patients_3/few/seed_0/finished.json").read_text())
    assert record["report"] == "validation/report.json" and record["command"].startswith("semicycle train few --output")
    assert {path.name for path in (tmp_path / "out").glob("*.*")} == {"few.md", "few.csv", "few.json", "few.png"}
    assert table("acdc labels=3 method=partial,few", "--seeds", "0,1", *lists) == 0
    assert "all 4 runs are finished" in capsys.readouterr().out and len(verbs.read_text().split()) == 12
    assert table("acdc labels=3 method=few", *lists, "--epochs", "4") == 2
    assert "was run with no more, here it is --epochs 4: give another --out" in capsys.readouterr().err


def test_a_failed_run_is_shown_and_the_same_command_goes_on(table, capsys, tmp_path):
    lists = ["--test", "0", "--broken", "partial/"]
    assert table("acdc labels=3 method=partial,few", *lists) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("failed: acdc 3 patients partial seed 0: error: the scan is bent (")
    assert "| 3 | few | 1 | 0.500 |" in shown.out
    assert table("acdc labels=3 method=partial,few", *lists) == 1
    assert (tmp_path / "out/acdc/patients_3/verbs").read_text().split().count("train") == 3


def test_the_papers_table_and_this_one_may_lie_in_one_folder(table, fake_of_the_paper, tmp_path, capsys):
    assert table("acdc labels=3 method=few", "--test", "0") == 0
    capsys.readouterr()
    assert "Few annotated" not in fake_of_the_paper("acdc labels=3p method=partial")
    capsys.readouterr()
    assert command.main(["--report", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert "| partial | 3 patients | 1 |" in text and "| 3 | few | 1 |" in text
    assert "few" not in (tmp_path / "out" / "table.md").read_text()


@pytest.fixture
def fake_of_the_paper(tmp_path, fake_text, capsys):
    """Run the paper's table with its stand-in: what it prints."""
    path = tmp_path / "bundle.py"
    path.write_text(fake_text)

    def main(spec):
        words = ["--data", f"acdc={tmp_path / 'data'}", "--out", str(tmp_path / "out"), "--only", spec]
        assert command.main(words, [sys.executable, str(path)]) == 0
        return capsys.readouterr().out

    return main


@pytest.mark.slow
def test_a_table_of_a_real_training(phantom_dir, tmp_path):
    """A method after ``few`` through training, label maps, scores, the table and the picture, as a user does it."""
    names = [f"patient{number:03d}\n" for number in range(1, 9)]
    (tmp_path / "train.txt").write_text("".join(names[:5]))
    (tmp_path / "val.txt").write_text("".join(names[5:]))
    small = {"image_size": "[64,64]", "window": "[32,32]", "network_def::features": "[4,4,4,8,8,4]", "batch_size": "2"}
    small |= {"epochs": "2", "val_interval": "1", "steps_per_epoch": "2"}
    small |= {"train_list": tmp_path / "train.txt", "validation_list": tmp_path / "val.txt"}
    options = [str(word) for key, value in small.items() for word in (f"--{key}", value)]
    words = ["--data", f"acdc={phantom_dir}", "--only", "acdc labels=3 method=partial", "--jobs", "1"]
    ran = processes.run(
        "-m", "acdc_semicycle", "table", "few", *words, "--out", tmp_path / "out", *options, seconds=900
    )
    assert "1/1 runs, 0:00:00 left" in ran.stdout and "semicycle train few partial --output_dir" in ran.stdout
    (row,) = json.loads((tmp_path / "out" / "few.json").read_text())["rows"]
    assert (row["patients"], row["method"], row["part"], row["volumes"]) == (3, "partial", "validation", 6)
    assert row["dice"] is not None and row["hd95"] > 0 and row["hd95_unit"] == "mm" and 0 < row["minutes"] < 15
    assert (tmp_path / "out" / "few.png").is_file()
    split = json.loads((tmp_path / "out/acdc/patients_3/partial/seed_0/split.json").read_text())
    assert split["labelled"] == [name.strip() for name in names[:3]]
    assert sorted(split["validation"]) == [name.strip() for name in names[5:]] and split["test"] == []
