"""Which runs are asked for, and the command of each."""

import json
import os
import shlex
from pathlib import Path

import pytest
from tabulating import ROOT

from acdc_semicycle.experiments import command, grid, methods, scheduling
from acdc_semicycle.experiments.paper import ABLATIONS
from acdc_semicycle.experiments.runs import Run
from acdc_semicycle.runtime.errors import InputError


def asked(*specs, **further):
    return [(c.dataset, c.method, c.labels, c.seed) for c in grid.cells(grid.Options(only=list(specs), **further))]


def test_the_default_grid_is_the_papers_two_tables():
    cells = grid.cells(grid.Options(data={"acdc": "a", "voc": "b", "cityscapes": "c"}))
    shared = {("full", "100"), ("hung", "20")}
    shared |= {(method, labels) for method in ("partial", "semicycle") for labels in ("50", "30", "20", "10")}
    ablations = {(f"no_{name}", "20") for name in ("cycle_S", "cycle_I", "disc_S", "disc_I")}
    for dataset in ("acdc", "voc", "cityscapes"):
        rows = [(cell.method, cell.labels) for cell in cells if cell.dataset == dataset]
        assert set(rows) == shared | (ablations if dataset == "voc" else set())
        assert len(rows) == len(set(rows))
    assert len(cells) == 34 and {cell.seed for cell in cells} == {0}


def test_data_sets_come_from_the_environment_only_where_none_is_given(monkeypatch):
    monkeypatch.setenv("VOC_DIR", "somewhere")
    assert {cell.dataset for cell in grid.cells(grid.Options())} == {"voc"}
    assert {cell.dataset for cell in grid.cells(grid.Options(data={"acdc": "a"}))} == {"acdc"}


def test_a_part_of_the_grid():
    assert asked("acdc labels=10,3p method=partial,semicycle", seeds=[0, 2]) == [
        ("acdc", method, labels, seed)
        for method in ("partial", "semicycle")
        for labels in ("10", "3p")
        for seed in (0, 2)
    ]


def test_a_part_without_labels_has_the_papers_and_full_has_all():
    assert asked("voc method=hung,no_disc_I,full") == [
        ("voc", "hung", "20", 0),
        ("voc", "no_disc_I", "20", 0),
        ("voc", "full", "100", 0),
    ]
    assert len(asked("acdc,voc")) == 20 and len(asked("acdc", "acdc")) == 10
    assert asked("voc labels=10,20.0 method=full,hung") == [
        ("voc", "full", "100", 0),
        ("voc", "hung", "10", 0),
        ("voc", "hung", "20", 0),
    ]


def test_every_overlay_that_says_what_is_trained_is_a_method():
    assert asked("acdc labels=10 method=mean_teacher") == [("acdc", "mean_teacher", "10", 0)]
    assert asked("acdc method=mean_teacher") == [("acdc", "mean_teacher", "20", 0)]
    shipped = {path.stem for path in (ROOT / "configs").glob("*.yaml") if "\nobjective_def:\n" in path.read_text()}
    assert {"partial", "hung", "mean_teacher"} <= shipped
    assert set(methods.overlay_of_each()) == shipped | {"full", "semicycle", *ABLATIONS}


def test_a_users_own_method_is_one_by_the_name_of_its_file(tmp_path):
    mine, common = tmp_path / "mine.yaml", tmp_path / "short.yaml"
    mine.write_text("objective_def: {_target_: my.Method}\nweights: {gen_S: 1.0}\n")
    common.write_text("epochs: 3\n")
    words = [str(common), str(mine), "--data", f"acdc={tmp_path}", "--only", "acdc labels=10 method=mine,partial"]
    options = grid.Options.read(words)
    assert (options.overlays, options.methods) == ([str(common)], [str(mine)])
    runs = {cell.method: Run.of(cell, options, ("x",)) for cell in grid.cells(options)}
    assert [file for file in runs["mine"].files if str(tmp_path) in file] == [str(common), str(mine)]
    assert [file for file in runs["partial"].files if str(tmp_path) in file] == [str(common)]


def test_tables_show_the_papers_methods_first_and_its_ablations_last():
    names = ["zeta", "no_disc_S", "semicycle", "alpha", "partial"]
    assert methods.in_order(names) == ["partial", "semicycle", "alpha", "zeta", "no_disc_S"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "mnist"], "'mnist' is no data set: give one of voc, cityscapes, acdc"),
        (["--only", ""], "--only has no value"),
        (["--only", "acdc method=uamt"], "'uamt' is no method: give one of full, hung, partial, semicycle"),
        (["--only", "acdc labels=many"], "labels=many is not understood"),
        (["--only", "acdc labels=0"], "labels=0 is"),
        (["--only", "acdc labels=101"], "labels=101 is"),
        (["--only", "acdc labels=0p"], "labels=0p is"),
        (["--only", "acdc 20"], "has '20': give labels=20,10"),
        (["--only", "acdc labels="], "has 'labels='"),
        (["--only", "voc"], "no folder of voc is given: give --data voc=PATH, or set VOC_DIR"),
        (["--data", "mnist=."], "'mnist' is no data set"),
        (["--data", "voc=nowhere"], "'nowhere' is no folder"),
        (["--data", "voc"], "'' is no folder"),
        (["--seeds", "one"], "--seeds has 'one'"),
        (["--jobs", "0"], "--jobs has '0'"),
        (["--jobs"], "--jobs has no value"),
        (["--epochs", "--amp", "True"], "--epochs has no value"),
        (["--data", "/there/acdc"], "give the data set's name, too, such as --data acdc=/there/acdc"),
        (["--epochs", "3", "tiny"], "'tiny' is not understood"),
        (["--submit", "moon"], "'moon' is no place to submit to: give one of slurm, local"),
        (["--submit-options", "timeout"], "--submit-options has 'timeout'"),
        (["--seed", "1"], "--seed is for the table to give to each run: use --seeds instead"),
        (["--output_dir", "x"], "use --out instead"),
        (["--report", "results"], "takes nothing beside it"),
    ],
)
def test_what_is_not_understood_is_one_line(run, capsys, arguments, words, tmp_path):
    assert run("", *arguments) == 2
    text = capsys.readouterr().err
    assert words in text and text.startswith("error: ") and text.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_misspelt_key_is_named_before_anything_is_printed(capsys, tmp_path):
    for word, meant in (("sseds", "seeds"), ("epoch", "epochs"), ("xyzzy", "remove it")):
        assert command.main(["--data", f"acdc={tmp_path}", f"--{word}", "1", "--dry-run"]) == 2
        said = capsys.readouterr()
        assert f"--{word} is no key of the bundle" in said.err and meant in said.err and not said.out


def test_without_data_or_with_an_unknown_overlay_nothing_starts(capsys):
    assert command.main([]) == 2
    assert "no data set is given: give --data acdc=PATH" in capsys.readouterr().err
    assert command.main(["enormous"]) == 2
    assert "'enormous' is no overlay" in capsys.readouterr().err


def commands(run, capsys, *arguments):
    assert run(*arguments, "--dry-run") == 0
    return [shlex.split(line) for line in capsys.readouterr().out.splitlines()]


def test_a_cell_is_the_bundle_with_overlays_and_nothing_else(fake, capsys, tmp_path):
    data, out = tmp_path / "data", tmp_path / "out"
    words = ["tiny", "--data", f"voc={data}", "--only", "voc labels=20 method=partial", "--out", str(out)]
    assert command.main([*words, "--dry-run", "--image_size", "[96,96]", "--weights::gen_S=10"], ["false"]) == 0
    train, evaluate = (shlex.split(line) for line in capsys.readouterr().out.splitlines())
    bundle, configs = ROOT / "bundles/semicycle/configs", ROOT / "configs"
    files = [bundle / "train.json", *(configs / f"{name}.yaml" for name in ("voc", "tiny", "partial", "labels_20"))]
    assert train[:6] == ["python", "-m", "monai.bundle", "run", "training", "--config_file"]
    assert [os.path.abspath(file) for file in json.loads(train[6])] == [str(file) for file in files]
    options = ["--output_dir", str(out / "voc/labels_20/partial/seed_0"), "--dataset_dir", str(data), "--seed", "0"]
    assert train[7:] == [*options, "--image_size", "[96,96]", "--weights::gen_S", "10"]
    assert evaluate[4] == "evaluating" and evaluate[7:] == train[7:]
    assert json.loads(evaluate[6])[:-1] == json.loads(train[6])
    assert os.path.abspath(json.loads(evaluate[6])[-1]) == str(bundle / "evaluate.json")
    assert not out.exists()


@pytest.mark.parametrize(
    ("method", "overlays"),
    [
        ("full", ["partial", "labels_100"]),
        ("hung", ["hung", "labels_10"]),
        ("semicycle", ["labels_10"]),
        ("no_cycle_S", ["ablation_no_cycle_S", "labels_10"]),
    ],
)
def test_each_method_has_its_overlay(run, capsys, method, overlays):
    train, _ = commands(run, capsys, f"acdc labels=10 method={method}")
    assert [Path(file).stem for file in json.loads(train[6])] == ["train", *overlays]


@pytest.mark.parametrize(("labels", "labelled"), [("3p", "3"), ("15", "0.15"), ("7", "0.07"), ("12.5", "0.125")])
def test_labels_without_an_overlay_are_an_option(run, capsys, labels, labelled):
    train, _ = commands(run, capsys, f"acdc labels={labels} method=semicycle")
    assert [Path(file).stem for file in json.loads(train[6])] == ["train"]
    assert train[train.index("--labelled") + 1] == labelled
    assert f"labels_{labels}/" in train[train.index("--output_dir") + 1]


def test_each_run_has_its_share_of_the_machine(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert scheduling.environments(0) == [{"OMP_NUM_THREADS": "8"}]
    assert scheduling.environments(3) == [{"OMP_NUM_THREADS": "2"}] * 3
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    threads = {"OMP_NUM_THREADS": "4"}
    assert scheduling.environments(0) == [threads | {"CUDA_VISIBLE_DEVICES": n} for n in "01"]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert {place["OMP_NUM_THREADS"] for place in scheduling.environments(0)} == {"3"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert [place["CUDA_VISIBLE_DEVICES"] for place in scheduling.environments(3)] == ["5", "7", "5"]


def test_runs_share_what_they_prepare_unless_the_user_has_a_place_for_it(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    given = ["tiny", "--data", f"acdc={tmp_path / 'data'}", "--out", str(tmp_path / "out")]
    options = grid.Options.read(given)
    command.carry_out([], 0, options)
    assert os.environ["SEMICYCLE_CACHE"] == str(tmp_path / "out" / "cache")
    monkeypatch.setenv("SEMICYCLE_CACHE", "mine")
    command.carry_out([], 0, options)
    assert os.environ["SEMICYCLE_CACHE"] == "mine"


def test_submit_options_are_words_and_numbers():
    options = grid.Options.read(["--submit-options", "timeout_min=600 slurm_partition=gpu gpus_per_node=1"])
    assert options.submit_options == {"timeout_min": 600, "slurm_partition": "gpu", "gpus_per_node": 1}


def test_input_errors_are_value_errors():
    with pytest.raises(InputError, match="no method"):
        grid.specified("acdc method=x", ["partial"])
