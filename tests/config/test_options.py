"""How a command's words are taken for options."""

import pytest

from acdc_semicycle.config.options import Option, options_of


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
