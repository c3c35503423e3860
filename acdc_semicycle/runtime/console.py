"""What is printed: names of files as they are, also those that are no text in the terminal's encoding."""

from __future__ import annotations

import codecs
import io
import sys

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
