"""Printing the name of a file never fails."""

import os
import subprocess
import sys

import pytest

from acdc_semicycle.config.values import check_output_dir
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
