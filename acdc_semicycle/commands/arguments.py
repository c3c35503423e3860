"""The parser of a verb's own options."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import NoReturn

from acdc_semicycle.config import data_keys


class Parser(argparse.ArgumentParser):
    """Reports what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise the message, without the usage that argparse would print."""
        raise ValueError(f"{message}: see {self.prog} --help")


def parser_of(verb: str, words: str) -> argparse.ArgumentParser:
    """The parser of a verb's own options."""
    return Parser(prog=f"semicycle {verb}", description=words, allow_abbrev=False)


def add_data_keys(parser: argparse.ArgumentParser) -> None:
    """Let a verb take the keys of a training that say what its data are."""
    for key, words in data_keys.KEYS.items():
        parser.add_argument(f"--{key}", nargs="+" if key == "classes" else None, help=words)


def show(lines: Iterable[str]) -> None:
    """Print lines, each as soon as it is known."""
    for line in lines:
        print(line, flush=True)
