"""The command line becomes the bundle's own command."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from acdc_semicycle import __version__, bundle, checkpoints, cli
from acdc_semicycle.networks import ResidualGenerator

ROOT = Path(__file__).parents[1]
CONFIGS = Path("bundles", "semicycle", "configs")  # of a clone, from its root


@pytest.fixture
def semicycle(monkeypatch):
    """Run the verbs with the last step, becoming another program, kept from happening; gives its arguments."""

    class Became(Exception):
        pass

    def become(path, command):
        raise Became(*command)

    monkeypatch.setattr(cli.os, "execv", become)

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
    assert command == ["-m", "monai.bundle", "run", "training", "--config_file", str(CONFIGS / "train.json")] + [
        "--epochs",
        "3",
    ]
    assert capsys.readouterr().out.startswith("python -m monai.bundle run training --config_file ")


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
    monkeypatch.setattr(bundle, "run", lambda *given: ran.append(given))
    semicycle("predict", "$scan.nii.gz", "b.mha", "-o", "@out", "--model", "m.zip", "--flips", "--sw_batch", "3")
    file, settings = ran[0]
    assert file == CONFIGS / "inference.json"
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


def test_from_elsewhere_the_bundle_is_named_by_its_whole_path(semicycle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, command = semicycle("train")
    assert command[5] == str(ROOT / CONFIGS / "train.json")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], "'trian' is no verb"),
        (["train", "huge"], "'huge' is no overlay"),
        (["predict"], "scan"),
        (["check", "nowhere"], "nowhere"),
        (["report", "nowhere"], "nowhere"),
        (["evaluate", "--pred", "nowhere"], "nowhere"),
        (["predict", "a.nii", "-o"], "expected one argument"),
        (["predict", "a.nii", "--flip"], "--KEY VALUE"),
    ],
)
def test_wrong_words_get_one_line(semicycle, capsys, arguments, words):
    code, command = semicycle(*arguments)
    text = capsys.readouterr().err
    assert code == 2 and command is None
    assert words in text and text.count("\n") == 1


def test_help_version_and_where_answer_without_loading_torch():
    for arguments, words in ((["--help"], "semicycle train"), (["--version"], __version__), (["where"], "semicycle")):
        code = (
            f"import sys; sys.argv = ['semicycle', *{arguments}]; from acdc_semicycle import cli; cli.main();"
            "print('torch' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        assert words in done.stdout and done.stdout.endswith("False\n")


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


def test_a_prediction_that_failed_is_no_exit_code_0(semicycle, tmp_path, capsys):
    model = tmp_path / "models" / "model.pt"
    checkpoints.save(model, ResidualGenerator(1, 4, filters=2, blocks=1).state_dict())
    model.with_suffix(".json").write_text(json.dumps({"filters": 2, "blocks": 1, "image_size": [24, 32]}))
    (tmp_path / "a.nii").write_bytes(b"damaged")
    given = ("predict", str(tmp_path / "a.nii"), "-o", str(tmp_path / "out"), "--model", str(model))
    code, _ = semicycle(*given)
    assert code != 0 and "a.nii" in capsys.readouterr().err
