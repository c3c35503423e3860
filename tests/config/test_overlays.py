"""What a command says to an overlay that cannot be read, and to a key that no section has."""

import json
import os
import sys
from pathlib import Path

import pytest

from acdc_semicycle import cli
from acdc_semicycle.config import locations, overlays
from acdc_semicycle.runtime.errors import InputError

CONFIGS = Path(__file__).parents[2] / "bundles" / "semicycle" / "configs"


def said(monkeypatch, capsys, *arguments) -> str:
    """The one line that a refused command prints before it becomes another program."""
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("the command was run"))
    monkeypatch.setattr(sys, "argv", ["semicycle", *map(str, arguments)])
    assert cli.main() == 2
    shown = capsys.readouterr()
    assert not shown.out and shown.err.startswith("error: ") and shown.err.count("\n") == 1, shown
    return shown.err


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.yaml", "epochs: [1,\n x: {", "line 2, column 6: expected the node content"),
        ("a.yaml", "epochs: 3\nseed: !!python/object/apply:os.getcwd []\n", "line 2, column 7: could not determine a"),
        ("a.yaml", "a: \x00", "cannot be read (unacceptable character"),
        ("a.yaml", "# nothing yet\n", "holds nothing: give keys and their values"),
        ("a.yml", "- epochs\n", "holds a list: give keys"),
        ("a.yaml", "3: 4\n", "holds keys that are no names"),
        ("a.json", '{"epochs": 2,}', "line 1, column 14: "),
        ("a.json", "[" * 100_000, "cannot be read (maximum recursion"),
        ("a.txt", "epochs: 2\n", "is no .yaml, .yml or .json file"),
    ],
)
@pytest.mark.parametrize("verb", ["train", "evaluate", "table"])
def test_an_overlay_that_cannot_be_read_is_one_line_with_its_name(
    monkeypatch, capsys, tmp_path, verb, name, text, words
):
    path = tmp_path / name
    path.write_text(text)
    text = said(monkeypatch, capsys, verb, path)
    assert str(path) in text and words in text, text


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("wieghts::gen_S", "did you mean 'weights::gen_S'?"),
        ("train::agument::flips", "did you mean 'train::augment::flips'?"),
        ("train#trainr#max_epochs", "did you mean 'train::trainer::max_epochs'?"),
        ("a::b::c", "remove it"),
        ("train::handlers::9::interval", "give one, such as train::handler::decay"),
        ("epochs::x", "epochs is 8, no section"),
        ("seed::x", "seed is 0, no section"),
    ],
)
def test_a_key_below_a_section_that_is_not_there_is_one_line(monkeypatch, capsys, tmp_path, key, words):
    for given in ([f"--{key}", "1"], [f"--{key}=1"]):
        text = said(monkeypatch, capsys, "train", "small", *given)
        assert f"unknown key {key!r}: " in text and words in text, text
    assert repr(key) in said(monkeypatch, capsys, "evaluate", f"--{key}", "1")
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps({key: 1}))
    text = said(monkeypatch, capsys, "train", "small", mine)
    assert str(mine) in text and repr(key) in text and words in text, text


@pytest.mark.parametrize("key", ["train", "objective_def", "weights", "train::augment"])
def test_a_number_or_a_name_where_a_section_is_is_one_line(monkeypatch, capsys, tmp_path, key):
    assert f"the command says {key} '3': give a section, such as {key}::" in said(
        monkeypatch, capsys, "train", f"--{key}", "3"
    )
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps({key: "x"}))
    assert f"{mine} says {key} 'x': give a section" in said(monkeypatch, capsys, "evaluate", mine)


def test_predict_and_table_look_at_sections_too(monkeypatch, capsys, tmp_path):
    assert "preprocessing" in said(monkeypatch, capsys, "predict", "x.nii", "--preprocesing::transforms", "1")
    given = ["--data", f"acdc={tmp_path}", "--only", "acdc labels=20 method=partial", "--dry-run"]
    assert "did you mean 'train::augment::flips'" in said(
        monkeypatch, capsys, "table", *given, "--train::agument::flips", "[1, 1]"
    )


def test_sections_of_files_and_of_the_command_add_up(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("+train: {mine: {a: 1}}\nextra: {b: {c: 1}}\n")
    given = ["--train::mine::a", "2", "--extra::b::d=3", "--train::handlers::0::interval", "2", "--own", "{'x': 1}"]
    whole = ["--weights", "{'gen_S': 1}", "--optimizer=$None", "--train::augment", "None", "--split", "@records"]
    overlays.check_sections([CONFIGS / "train.json", mine], whole)
    overlays.check_sections([CONFIGS / "train.json", mine], [*given, "--own::x", "2", "--_meta_::name", "x"])
    for overlay in locations.folder("configs").glob("*.yaml"):
        overlays.check_sections([CONFIGS / "train.json", overlay, CONFIGS / "evaluate.json"], [])
    mine.write_text("train: null\n")
    with pytest.raises(InputError, match="train is None, no section"):
        overlays.check_sections([CONFIGS / "train.json", mine], ["--train::augment::flips", "1"])


def test_what_is_added_to_a_section_replaces_what_it_had_under_the_same_key(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("part: {shared: {old: {a: 1}}, own: {b: 1}}\n")
    second.write_text("+part: {shared: {new: {a: 1}}}\n")
    overlays.check_sections([first, second], ["--part::shared::new::a", "2", "--part::own::b", "2"])
    with pytest.raises(InputError, match="unknown key 'part::shared::old::a'"):
        overlays.check_sections([first, second], ["--part::shared::old::a", "2"])
