"""A run's folder is named by what was trained."""

import json
import sys

import pytest

from acdc_semicycle.config.run_name import run_name, with_folder
from acdc_semicycle.runtime.errors import InputError
from tests.config.test_bundle import CONFIGS, ROOT, workflow

NAMES = [
    ("phantom", "train", "phantom"),
    ("phantom", "train --epochs 3 --seed 0", "phantom"),
    ("phantom", "train partial", "phantom-partial"),
    ("acdc", "train --dataset_dir PATH", "acdc"),
    ("acdc", "train small --dataset_dir PATH", "acdc-small"),
    ("acdc", "evaluate small labels_10 partial --seed=2", "acdc-small-labels_10-partial-seed_2"),
    ("acdc", "train few --labelled 7 --seed 1", "acdc-few-labelled_7-seed_1"),
    ("acdc", "train few --labelled 3 --mended my/drafts --from runs/a", "acdc-few-labelled_3-mended_drafts"),
    ("acdc", "train few --mended null", "acdc-few"),
    ("own_scans", "train own_scans few --images A", "own_scans-few"),
    ("voc", "train few voc unimatch --labelled 0.2", "voc-few-unimatch-labelled_0.2"),
    ("acdc", "train --labelled $1/3", "acdc-labelled__1_3"),
    ("acdc", "train official-2019-08", "acdc-official-2019-08"),
]


@pytest.mark.parametrize(("dataset", "words", "name"), NAMES)
def test_a_run_is_named_by_data_set_overlays_labels_masks_and_seed(dataset, words, name):
    assert run_name(dataset, ["semicycle", *words.split()]) == name


@pytest.mark.parametrize(("dataset", "words", "name"), NAMES)
def test_monais_own_command_gives_the_same_name(dataset, words, name):
    verb, *names = words.split()
    options = [word for n, word in enumerate(names) if word.startswith("-") or (n and names[n - 1].startswith("--"))]
    files = [f"configs/{word}.yaml" for word in names if word not in options]
    own = [str(CONFIGS / "train.json"), *[str(CONFIGS / "evaluate.json")] * (verb == "evaluate")]
    paths = [own[0], *(str(ROOT / file) for file in files), *own[1:]]
    for config_file in (json.dumps(paths), str(paths)) if len(paths) > 1 else (paths[0],):
        command = ["monai", "run", "training", "--config_file", config_file, *options]
        assert run_name(dataset, command) == name


def test_an_overlay_of_a_users_own_counts_too(tmp_path):
    (tmp_path / "my $overlay.yaml").write_text("epochs: 3\n")
    (tmp_path / "hearts.yaml").write_text("dataset: hearts\n")
    files = [str(tmp_path / "hearts.yaml"), str(tmp_path / "my $overlay.yaml")]
    assert run_name("hearts", ["semicycle", "train", *files]) == "hearts-my_overlay"


@pytest.mark.parametrize("words", [["python"], ["pytest", "tests"], ["mine.py", "train", "data"], ["-c", "--seed"]])
def test_words_of_another_program_are_none_of_a_run(words):
    assert run_name("acdc", words) == "acdc"


def test_methods_on_one_data_set_have_folders_of_their_own(monkeypatch):
    monkeypatch.delenv("ACDC_DIR", raising=False)
    folders = {}
    for name in ("partial", "hung", "mean_teacher"):
        monkeypatch.setattr(sys, "argv", ["semicycle", "train", name])
        folders[name] = workflow(ROOT / "configs" / f"{name}.yaml").parser.get_parsed_content("output_dir")
    monkeypatch.setattr(sys, "argv", ["semicycle", "train"])
    folders["phantom"] = workflow().parser.get_parsed_content("output_dir")
    assert folders.pop("phantom") == "runs/phantom"
    assert folders == {name: f"runs/phantom-{name}" for name in folders}


def test_a_name_that_is_given_is_that_of_the_folder():
    assert with_folder(["--name", "base", "--seed", "1"]) == ["--seed=1", "--output_dir=runs/base"]
    assert with_folder(["--seed=1", "--name=a b"]) == ["--seed=1", "--output_dir=runs/a b"]
    assert with_folder(["--seed", "1"]) == ["--seed", "1"]


@pytest.mark.parametrize("name", ["a/b", "/a", "..", ".hidden", " ", "a\\b"])
def test_a_name_that_is_no_folders_name_is_refused(name):
    with pytest.raises(InputError, match=r"give the name of a folder in runs/, such as baseline, without slashes$"):
        with_folder(["--name", name])


def test_a_name_beside_an_output_folder_is_refused():
    with pytest.raises(InputError, match="--name and --output_dir are both given: remove one of them"):
        with_folder(["--output_dir", "x", "--name", "a"])
