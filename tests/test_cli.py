"""The command line becomes the bundle's own command."""

import inspect
import itertools
import json
import logging
import os
import runpy
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from monai.bundle import scripts

from acdc_semicycle import __version__, cli
from acdc_semicycle.artifacts import weights
from acdc_semicycle.config import quiet_bundle, startup, training_help
from acdc_semicycle.config.command import QUIET, TRUSTED
from acdc_semicycle.config.settings import SECTIONS
from acdc_semicycle.evaluation import compare
from acdc_semicycle.methods.networks import ResidualGenerator

ROOT = Path(__file__).parents[1]
CONFIGS = Path("bundles", "semicycle", "configs")  # of a clone, from its root


@pytest.fixture
def semicycle(monkeypatch):
    """Run the verbs with the last step, becoming another program, kept from happening; gives its arguments."""

    class Became(Exception):
        pass

    def become(path, command):
        raise Became(*command)

    monkeypatch.setattr(os, "execv", become)
    monkeypatch.setenv("PYTHONWARNINGS", "")  # is put back as it was afterwards
    monkeypatch.chdir(ROOT)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["semicycle", *arguments])
        try:
            return cli.main(), None
        except Became as program:
            return 0, list(program.args[1:])

    return run


def test_train_is_the_users_command(semicycle, capsys):
    _, command = semicycle("train", "--epochs", "3")
    assert command == ["-m", QUIET, "run", "training", "--config_file", str(CONFIGS / "train.json")] + [
        "--epochs",
        "3",
    ]
    assert capsys.readouterr().out.startswith("python -m monai.bundle run training --config_file ")


def test_monais_warning_of_code_is_left_out_for_this_packages_own_configurations_alone(
    semicycle, tmp_path, monkeypatch
):
    mine = tmp_path / "mine.yaml"
    mine.write_text("epochs: 3\n")
    semicycle("train", "small", str(mine))
    assert os.environ["PYTHONWARNINGS"] == ""
    monkeypatch.setenv("PYTHONWARNINGS", "default")
    semicycle("train", "small")
    assert os.environ["PYTHONWARNINGS"] == f"default,{TRUSTED}"


def test_a_training_with_overlays_begins_without_monais_notice_of_folders(tmp_path):
    command = [sys.executable, "-m", "acdc_semicycle", "train", "few", "--dataset_dir", str(tmp_path / "none")]
    quiet, loud = (subprocess.run([*command, *words], capture_output=True, text=True) for words in ((), ("-v",)))
    assert quiet.returncode == loud.returncode == 1
    assert quiet_bundle.NOTICE in loud.stdout + loud.stderr and quiet.stderr.startswith("error: ")
    assert quiet.stdout.startswith("python -m monai.bundle run training --config_file ")
    assert quiet.stdout.count("\n") == quiet.stderr.count("\n") == 1


def test_the_command_of_a_result_stays_monais(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["quiet_bundle.py", "run", "training"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", quiet_bundle.__name__, "run", "training"])
    monkeypatch.setattr(runpy, "run_module", lambda name, **_: sys.orig_argv.append(name))
    quiet_bundle.main()
    assert sys.orig_argv == ["python", "-m", "monai.bundle", "run", "training", "monai.bundle"]
    others = logging.getLogger(quiet_bundle.LOGGER).filters
    assert not others.pop()(logging.makeLogRecord({"msg": f"{quiet_bundle.NOTICE} a"}))


def test_the_warning_that_is_left_out_is_monais_and_no_other(monkeypatch):
    code = "import warnings; warnings.warn('parsing config_file [a]: any value'); warnings.warn('other')"
    environment = os.environ | {"PYTHONWARNINGS": TRUSTED}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "parsing" not in done.stderr and "other" in done.stderr
    source = Path(inspect.getsourcefile(scripts)).read_text()
    assert "f'parsing config_file {config_file}: any" in source


def test_overlays_are_named_or_given_as_files(semicycle, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("epochs: 3\n")
    _, command = semicycle("evaluate", "small", str(mine), "--seed", "1")
    files = [
        str(CONFIGS / "train.json"),
        "configs/small.yaml",
        str(mine),
        str(CONFIGS / "evaluate.json"),
    ]
    assert command[3:6] == ["evaluating", "--config_file", json.dumps(files)]
    assert command[6:] == ["--seed", "1"]


def test_predict_hands_files_over_as_paths_and_prints_the_bundles_command(semicycle, monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(startup, "run", lambda *given: ran.append(given))
    semicycle("predict", "$scan.nii.gz", "b.mha", "-o", "@out", "--model", "m.zip", "--flips", "--sw_batch", "3")
    files, settings, run_id = ran[0]
    assert files == [str(CONFIGS / "inference.json")] and run_id is None
    assert settings == {
        "input": [Path("$scan.nii.gz"), Path("b.mha")],
        "output_dir": Path("@out"),
        "checkpoint": Path("m.zip"),
        "flips": True,
        "sw_batch": 3,
    }
    assert capsys.readouterr().out.startswith(
        "python -m monai.bundle run --config_file bundles/semicycle/configs/infer"
    )


@pytest.mark.parametrize("switch", ["-v", "--verbose"])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_monais_own_notices_are_asked_for_by_a_switch_at_any_place(semicycle, monkeypatch, switch, place):
    words = ["small", "--seed", "1"]
    words.insert(place, switch)
    for verb in ("train", "evaluate"):
        _, command = semicycle(verb, *words)
        assert command[-4:] == ["--seed", "1", "--logging_file", "configs/verbose.conf"]
        assert "--logging_file" not in semicycle(verb, "small", "--seed", "1")[1]
    ran = []
    monkeypatch.setattr(startup, "run", lambda *given: ran.append(given[1]))
    semicycle("predict", "a.nii", switch), semicycle("predict", "a.nii")
    assert ran[0].pop("logging_file") == "configs/verbose.conf" and "verbose" not in ran[0] and ran[0] == ran[1]


NOTICES = """
import logging, sys
from logging.config import fileConfig

loggers = [logging.getLogger(f"monai.bundle.{name}") for name in ("workflows", "scripts")]
for logger in loggers:  # as monai.apps.utils.get_logger
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(logging.StreamHandler(sys.stdout))
fileConfig(sys.argv[1], disable_existing_loggers=False)
for logger in loggers:
    logger.info("notice of MONAI"), logger.warning("warning of MONAI")
logging.getLogger("semicycle").info("line of ours")
"""


@pytest.mark.parametrize(("conf", "notices"), [(CONFIGS / "logging.conf", 0), ("configs/verbose.conf", 2)])
def test_monais_own_notices_are_logged_only_where_they_are_asked_for(conf, notices):
    command = [sys.executable, "-c", NOTICES, str(conf)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    output = done.stdout + done.stderr
    assert output.count("notice of MONAI") == notices
    assert output.count("warning of MONAI") == 2 and output.count("line of ours") == 1


@pytest.mark.parametrize("name", ["$HOME x", "@a", "%b", "a#b"])
@pytest.mark.parametrize("option", ["dataset_dir", "output_dir", "images", "train_list"])
def test_a_path_that_monai_would_read_as_code_reaches_a_training_as_a_path(
    semicycle, monkeypatch, capsys, name, option
):
    ran = []
    monkeypatch.setattr(startup, "run", lambda *given: ran.append(given))
    for words in ([f"--{option}", name], [f"--{option}={name}"]):
        assert semicycle("train", "small", *words, "--classes", "['a','b']", "--epochs", "3", "--amp", "True") == (
            0,
            None,
        )
    files, settings, run_id = ran[0]
    assert files == [str(CONFIGS / "train.json"), "configs/small.yaml"] and run_id == "training"
    assert settings == {option: Path(name), "classes": ["a", "b"], "epochs": 3, "amp": True} and ran[1] == ran[0]
    assert capsys.readouterr().out.startswith("python -m monai.bundle run training --config_file ")


@pytest.mark.slow
def test_a_data_set_of_any_name_is_trained_on_evaluated_and_predicted(semicycle, tmp_path, phantom_dir, monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.chdir(tmp_path)
    data, out, scratch = "$(touch planted)", "@out #1", "data$(rm)"
    Path(data).symlink_to(phantom_dir)
    tiny = {"image_size": [32, 32], "filters": 2, "blocks": 1, "d_filters": 2, "epochs": 1, "batch_size": 2}
    options = [word for key, value in tiny.items() for word in (f"--{key}", json.dumps(value))]
    where = ["--dataset_dir", data, "--output_dir", out]
    assert semicycle("train", *where, *options) == (0, None)
    assert semicycle("evaluate", *where, *options) == (0, None)
    assert (Path(out) / "test" / "report.json").is_file()
    assert semicycle("predict", data, "-o", scratch, "--model", out)[0] == 0
    assert semicycle("report", scratch) == (0, None) and (Path(scratch) / "report.html").is_file()
    assert semicycle("evaluate", "--pred", scratch, "--truth", data) == (0, None)
    assert semicycle("check", data) == (0, None)
    monkeypatch.setenv("ACDC_DIR", data)
    assert semicycle("train", "--output_dir", "@other", *options) == (0, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([data, out, scratch, "@other"])


def test_a_run_is_evaluated_by_its_own_configuration(semicycle, tmp_path):
    run = tmp_path / "run"
    (run / "models").mkdir(parents=True)
    files = json.dumps([str(CONFIGS / "train.json"), str(run / "config.yaml"), str(CONFIGS / "evaluate.json")])
    (run / "config.yaml").write_text("dataset_dir: data\nckpt_dir: $str(@output_dir) + '#'\n")
    for words in (["--model", str(run)], [f"--model={run / 'models'}"]):
        _, command = semicycle("evaluate", *words, "--seed", "1")
        assert command[2:] == ["run", "evaluating", "--config_file", files, f"--output_dir={run}", "--seed=1"]


def test_a_path_of_a_runs_configuration_that_monai_would_misread_is_handed_over_as_a_path(
    semicycle, tmp_path, monkeypatch
):
    ran = []
    monkeypatch.setattr(startup, "run", lambda *given: ran.append(given))
    (tmp_path / "config.yaml").write_text("images: 'a#b'\n")
    assert semicycle("evaluate", "--model", str(tmp_path)) == (0, None)
    assert ran[0][1:] == ({"images": Path("a#b"), "output_dir": str(tmp_path)}, "evaluating")


def test_a_prediction_without_scans_takes_those_that_the_run_was_trained_on(semicycle, tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(startup, "run", lambda *given: ran.append(given))
    (tmp_path / "config.yaml").write_text("dataset: own_scans\nimages: MY/images\n")
    semicycle("predict", "--model", str(tmp_path), "-o", "OUT")
    assert ran[0][1] == {"input": [Path("MY/images")], "output_dir": Path("OUT"), "checkpoint": tmp_path}


def test_from_elsewhere_the_bundle_is_named_by_its_whole_path(semicycle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, command = semicycle("train")
    assert command[5] == str(ROOT / CONFIGS / "train.json")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], "'trian' is no verb"),
        (["train", "huge"], "'huge' is no overlay"),
        (["train", "tiny", "--epochs", "2", "hung"], "'hung' is not understood: overlays come first, then --KEY VALUE"),
        (["evaluate", "--epochs=2", "hung", "--seed", "1"], "'hung' is not understood: overlays come first"),
        (["train", "--lr", "-1", "-2"], "'-2' is not understood"),
        (["train", "-o", "out"], "'-o' is not understood"),
        (["train", "--output_dir"], "--output_dir has no value: give --output_dir VALUE"),
        (["train", "-v", "--folds", "3"], "each fold's output is in its run.log, remove -v"),
        (["train", "--output_dir", "--seed", "1"], "--output_dir has no value"),
        (["train", "--output_dir="], "--output_dir has no value"),
        (["predict"], "no scans are given: give SCANS, or --model"),
        (["predict", "--model", "nowhere"], "nowhere has no config.yaml"),
        (["evaluate", "--model", "nowhere"], "nowhere has no config.yaml"),
        (["evaluate", "--model"], "--model has no value: give --model FOLDER"),
        (["evaluate", "--model", "nowhere", "--device"], "--device has no value: give --device VALUE"),
        (["evaluate", "small", "--model", "nowhere"], "'small' and --model are given"),
        (["check", "nowhere"], "nowhere"),
        (["report", "nowhere"], "nowhere"),
        (["evaluate", "--pred", "nowhere"], "nowhere"),
        (["predict", "a.nii", "-o"], "expected one argument"),
        (["predict", "a.nii", "--flip"], "did you mean --flips?"),
        (["predict", "a.nii", "--flips", "--seed", "--amp", "True"], "'--seed' is not understood: give --KEY VALUE"),
        (["predict", "a.nii", "--seed", "1", "b.nii"], "'b.nii' is not understood"),
    ],
)
def test_wrong_words_get_one_line(semicycle, capsys, arguments, words):
    code, command = semicycle(*arguments)
    text = capsys.readouterr().err
    assert code == 2 and command is None
    assert words in text and text.count("\n") == 1


def test_help_version_and_where_answer_without_loading_torch():
    pages = [(["--help"], "semicycle train"), (["--version"], __version__), (["where"], "semicycle")]
    for arguments, words in [*pages, (["train", "--help"], "own_scans"), (["train", "few", "-h"], "own_scans")]:
        code = (
            f"import sys; sys.argv = ['semicycle', *{arguments}]; from acdc_semicycle import cli; cli.main();"
            "print('torch' in sys.modules or 'yaml' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert words in done.stdout and done.stdout.endswith("False\n")


def test_the_help_of_train_names_every_overlay_and_the_keys_that_are_set_most_often(semicycle, capsys):
    assert semicycle("train", "--help") == (0, None)
    text = capsys.readouterr().out
    named = [name for group in training_help.OVERLAYS.values() for names in group for name in names.split(", ")]
    assert sorted(named) == sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))
    keys = {key for names in training_help.KEYS for key in names.split(", ")}
    settings = {setting.name for section in SECTIONS.values() for setting in section}
    assert keys - settings == {"folds", "name"} and len(keys) >= 20
    assert all(f"--{key}" in text for key in keys) and all(name in text for name in named)
    assert "docs/settings.md" in text and max(map(len, text.splitlines())) <= 120


def test_the_help_of_predict_tells_which_network_is_taken(semicycle, capsys):
    with pytest.raises(SystemExit):
        semicycle("predict", "--help")
    words = "by default that of the output folder, else the only one below runs/ that fits"
    assert words in " ".join(capsys.readouterr().out.split())


def test_an_evaluation_with_failures_is_exit_code_1(semicycle, tmp_path):
    labels = np.zeros((5, 6, 3), np.uint8)
    labels[2:4, 2:4] = 1
    for folder, name in itertools.product(("tool", "truth"), "ab"):
        (tmp_path / folder).mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(labels, np.diag([1.4, 1.4, 9, 1])), tmp_path / folder / f"{name}.nii")
    given = ("evaluate", "--pred", str(tmp_path / "tool"), "--truth", str(tmp_path / "truth"))
    assert semicycle(*given) == (0, None)
    (tmp_path / "tool" / "b.nii").write_bytes(b"damaged")
    assert semicycle(*given) == (1, None)


def test_results_that_could_not_be_written_are_refused_before_any_is_made(semicycle, tmp_path, capsys, monkeypatch):
    for name in ("A.nii.gz", "truth/A.nii.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 2), np.uint8), np.eye(4)), tmp_path / name)
    monkeypatch.setattr(compare, "compare", None)
    for make in (Path.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere")):
        target = tmp_path / make.__name__ / "evaluation.json"
        target.parent.mkdir()
        make(target)
        words = ["evaluate", "--pred", str(tmp_path / "A.nii.gz"), "--truth", str(tmp_path / "truth")]
        assert semicycle(*words, "-o", str(target.parent)) == (2, None)
        assert "evaluation.json is there and is not of this program" in capsys.readouterr().err


def test_a_prediction_that_failed_is_no_exit_code_0(semicycle, tmp_path, capsys):
    model = tmp_path / "models" / "model.pt"
    weights.save(model, ResidualGenerator(1, 4, filters=2, blocks=1).state_dict())
    model.with_suffix(".json").write_text(json.dumps({"filters": 2, "blocks": 1, "image_size": [24, 32]}))
    (tmp_path / "a.nii").write_bytes(b"damaged")
    given = ("predict", str(tmp_path / "a.nii"), "-o", str(tmp_path / "out"), "--model", str(model))
    code, _ = semicycle(*given)
    assert code != 0 and "a.nii" in capsys.readouterr().err


def test_without_a_model_scans_are_segmented_only_where_one_network_can_be_meant(
    semicycle, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    scan = nibabel.Nifti1Image(np.random.default_rng(0).integers(0, 900, (24, 32, 4)).astype(np.int16), np.eye(4))
    nibabel.save(scan, "HEART.nii.gz")

    def trained(name: str, **card) -> None:
        network = Path("runs", name, "models", "model.pt")
        weights.save(network, ResidualGenerator(1, 4, filters=2, blocks=1).state_dict())
        stored = {"filters": 2, "blocks": 1, "image_size": [24, 32], "dataset": "acdc", "epoch": 1} | card
        network.with_suffix(".json").write_text(json.dumps(stored))

    def predicted_by(*words) -> tuple[int, str]:
        code = semicycle("predict", "HEART.nii.gz", *words)[0]
        return code, json.loads(Path(words[1], "predictions.json").read_text())["model"]["path"]

    trained("trial", epochs=1, steps=2, classes=["background", "liver"])
    assert semicycle("predict", "HEART.nii.gz", "-o", "OUT") == (2, None)
    assert semicycle("export", "-o", "EXPORT") == (2, None)
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and all("runs/trial (a trial of 2 steps; acdc: liver)" in line for line in errors)
    trained("first")
    assert predicted_by("-o", "OUT") == (0, "runs/first/models/model.pt")
    trained("second")
    assert semicycle("predict", "HEART.nii.gz", "-o", "OTHER") == (2, None)
    assert "2 of 3 networks below runs fit" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["HEART.nii.gz", "OUT", "runs"]
    assert predicted_by("-o", "OUT") == (0, "runs/first/models/model.pt")
    assert predicted_by("-o", "OUT", "--model", "runs/second") == (0, "runs/second/models/model.pt")
    assert predicted_by("-o", "OUT") == (0, "runs/second/models/model.pt")
