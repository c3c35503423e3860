"""Printing the name of a file never fails."""

import io
import logging
import os
import shlex
import subprocess
import sys

import pytest
from tqdm import tqdm

from acdc_semicycle.config.values import check_output_dir
from acdc_semicycle.runtime.console import lines_above_bars, shell_line
from acdc_semicycle.runtime.errors import InputError

PRINT = """
import os, sys
from acdc_semicycle.runtime.console import print_any_name
print_any_name()
print(os.fsdecode(b"M\\xfcller"), chr(0x142), "\\u00fc")
print(os.fsdecode(b"M\\xfcller"), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [
        ("utf-8:strict", b"M\xfcller \xc5\x82 \xc3\xbc\n"),
        ("utf-8:surrogateescape", b"M\xfcller \xc5\x82 \xc3\xbc\n"),
        ("latin-1:strict", b"M\xfcller \\u0142 \xfc\n"),
        ("ascii:strict", b"M\xfcller \\u0142 \\xfc\n"),
    ],
)
def test_a_name_is_printed_as_its_bytes_and_what_no_terminal_has_as_its_number(encoding, printed):
    command = [sys.executable, "-c", PRINT]
    environment = os.environ | {"PYTHONIOENCODING": encoding, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert done.stdout == printed and done.stderr in (b"M\\udcfcller\n", b"M\xfcller\n")


def test_a_folder_that_tensorboard_cannot_write_in_is_refused_before_a_training():
    check_output_dir("runs/M\u00fcller")
    with pytest.raises(InputError, match=r"output_dir is 'runs/M\\udcfcller', which is not UTF-8: .* give another"):
        check_output_dir(os.fsdecode(b"runs/M\xfcller"))


@pytest.mark.parametrize("terminal", [True, False])
def test_a_line_of_the_log_stands_above_a_bar(monkeypatch, terminal):
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(sys, "stderr", stream)
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [logging.StreamHandler(stream)])
    before = list(root.handlers)
    with lines_above_bars(), tqdm(total=3, file=stream, disable=None, ncols=40) as bar:
        bar.update()
        root.warning("a line")
    pieces = stream.getvalue().replace("\r", "\n").split("\n")
    assert "a line" in pieces and root.handlers == before
    assert (len(pieces) > 3) == terminal, "what is no terminal shows no bar"


def test_a_list_of_names_is_printed_as_one_would_type_it():
    words = ["--classes", "['background','liver']", "a b", "it's $5", 'say "it\'s"', '["a", "b"]', "back\\'s", "!'"]
    line = shell_line(words)
    assert shlex.split(line) == words
    assert line.startswith("""--classes "['background','liver']" 'a b' """)
    printed = subprocess.run(["bash", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True, check=True)
    assert printed.stdout.splitlines() == words
