"""How a command's words are taken for options."""

import json

import pytest
from monai.bundle import ConfigParser

from acdc_semicycle.config import former, startup
from acdc_semicycle.config.locations import folder
from acdc_semicycle.config.options import Option, nearest, options_of
from acdc_semicycle.config.settings import RULES
from acdc_semicycle.config.validate import check


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("--a 1 --b=2", [("--a", "a", "1"), ("--b=2", "b", "2")]),
        ("--a --b", [("--a", "a", None), ("--b", "b", None)]),
        ("--a=--b --c= d", [("--a=--b", "a", "--b"), ("--c=", "c", ""), ("d", None, None)]),
        ("--a -1 -2", [("--a", "a", "-1"), ("-2", None, None)]),
        ("--a b=c=d --e=f=g", [("--a", "a", "b=c=d"), ("--e=f=g", "e", "f=g")]),
        ("--on x --on=y", [("--on", "on", None), ("x", None, None), ("--on=y", "on", "y")]),
        ("-- 1", [("--", "", "1")]),
        ("", []),
    ],
)
def test_words_are_options_with_the_value_that_is_theirs(words, options):
    assert list(options_of(words.split(), ["on"])) == [Option(*option) for option in options]


TRAIN = json.loads((folder("bundles/semicycle") / "configs" / "train.json").read_text())
NULLABLE = sorted(key for key in TRAIN if (key in RULES and RULES[key].holds(None)) or TRAIN[key] is None)


@pytest.mark.parametrize("word", ["null", "none", "None"])
@pytest.mark.parametrize("key", [*NULLABLE, "colours", "steps_an_epoch", "train::handler::decay", "split::fold"])
def test_what_may_be_null_is_null_on_the_command_line(key, word):
    """MONAI hands on the text, or for None nothing: the key keeps the value of before."""
    parser = ConfigParser(json.loads(json.dumps(TRAIN)))
    present = key.replace("steps_an_epoch", "steps_per_epoch")
    parser.set(word if word != "None" else 7, key)
    startup.take_words(parser, ["monai.bundle", "run", "training", f"--{key}", word])
    former.understand(parser)
    check(parser.get())
    assert parser.get(present) is None
    assert {"intensity_range", "steps_per_epoch", "mask_values", "window", "minutes"} <= set(NULLABLE)


@pytest.mark.parametrize(
    ("word", "names", "meant"),
    [
        ("image", ["image_size", "images"], "images"),
        ("image", ["image_size", "masks"], "image_size"),
        ("mask", ["mask_values", "masks", "task"], "masks"),
        ("label", ["labelled", "labelled_loss", "table"], "labelled"),
        ("epohs", ["epochs", "steps"], "epochs"),
        ("imagse", ["image_size", "images"], "images"),
        ("wholly_other", ["epochs"], None),
        ("e", ["epochs"], None),
        ("", ["epochs"], None),
    ],
)
def test_a_word_cut_short_means_the_shortest_name_that_begins_with_it(word, names, meant):
    assert nearest(word, names) == meant
