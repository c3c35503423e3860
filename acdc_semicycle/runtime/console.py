"""What is printed: names of files, also those that are no text in the terminal's encoding, and lines above a bar."""

from __future__ import annotations

import codecs
import io
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

HANDLER = "semicycle_names"


def print_any_name() -> None:
    """From here on, printing the name of a file never fails.

    A name that is not UTF-8 is printed as its own bytes, so that a printed command can be given again. A character that
    the terminal does not have is printed as its number.
    """
    codecs.register_error(HANDLER, _as_bytes)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors=HANDLER)


def shell_line(words: Iterable[str]) -> str:
    """A command as a shell reads it; lists of names stand in double quotes, where single ones would cut them up."""
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """A word as a shell reads it."""
    special = set('"$`\\!\n')
    return f'"{word}"' if "'" in word and not special & set(word) else shlex.quote(word)


@contextmanager
def lines_above_bars() -> Iterator[None]:
    """Log each line above a terminal's progress bar: else it follows the bar on the bar's own line."""
    if not sys.stderr.isatty():
        yield
        return
    from tqdm.contrib.logging import logging_redirect_tqdm

    with logging_redirect_tqdm():
        yield


def _as_bytes(error: UnicodeError) -> tuple[bytes, int]:
    """The bytes of the characters that cannot be encoded, and where to continue."""
    assert isinstance(error, UnicodeEncodeError), "it is for printing alone"
    content = bytearray()
    for character in error.object[error.start : error.end]:
        number = ord(character)
        if 0xDC80 <= number <= 0xDCFF:  # how Python holds a byte of a name that is no text
            content.append(number - 0xDC00)
        else:
            content += character.encode("ascii", "backslashreplace")
    return bytes(content), error.end
