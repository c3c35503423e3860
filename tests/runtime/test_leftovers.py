"""What killed processes leave is removed, and nothing that is still being written."""

import os
import signal
import time
from pathlib import Path

import pytest

from acdc_semicycle.runtime import files, leftovers

DEAD = 2**31 - 1  # no system gives a process this number


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def killed_while_writing(path: Path) -> int:
    """The number of a process that was killed while it wrote a file."""
    child = os.fork()
    if child == 0:
        with files.replacing(path) as part:
            part.write_text("2")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    return child


def test_the_part_of_a_killed_process_is_removed_by_its_name_and_no_other(tmp_path):
    files.write_text(tmp_path / "a.txt", "1")
    child = killed_while_writing(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "1"
    assert names(tmp_path) == [f".part-{leftovers.MACHINE}-{child}-a.txt", "a.txt"]
    (tmp_path / ".part-7-b.txt").touch()
    leftovers.remove_leftovers(tmp_path, "a.txt")
    assert names(tmp_path) == [".part-7-b.txt", "a.txt"]


def test_a_process_that_writes_in_a_folder_removes_what_killed_ones_left_of_any_file(tmp_path):
    killed_while_writing(tmp_path / "a.txt")
    files.write_text(tmp_path / "b.txt", "1")
    assert names(tmp_path) == ["b.txt"]


@pytest.mark.parametrize(
    ("name", "age", "left"),
    [
        (f"{leftovers.MACHINE}-{DEAD}-a.txt", 0, True),
        (f"{leftovers.MACHINE}-{2**70}-a.txt", 0, True),
        (f"{leftovers.MACHINE}-PARENT-a.txt", 9e6, False),
        (f"{leftovers.MACHINE}-1-a.txt", 9e6, False),
        (f"{leftovers.MACHINE}-SELF-a.txt", 0, False),
        (f"{leftovers.MACHINE}-SELF-a.txt", 9e6, True),  # an earlier one: containers number from 1
        (f"0123abcd-{DEAD}-a.txt", 3600, False),
        (f"0123abcd-{DEAD}-a.txt", 9e6, True),
        ("0123abcd-PARENT-a.txt", 9e6, True),
        (f"{DEAD}-a.txt", 0, False),
        (f"{DEAD}-a.txt", 9e6, True),
        ("of the manual.txt", 9e6, False),
        (f"{leftovers.MACHINE}-{DEAD}-", 9e6, False),
    ],
)
def test_a_part_is_left_if_its_process_is_gone_or_it_is_another_machines_of_yesterday(tmp_path, name, age, left):
    name = name.replace("PARENT", str(os.getppid())).replace("SELF", str(os.getpid()))  # each worker has its own
    part = tmp_path / "below" / f".part-{name}"
    part.parent.mkdir()
    part.touch()
    os.utime(part, (time.time() - age,) * 2)
    leftovers.sweep(tmp_path)
    assert part.exists() != left


def test_a_folder_of_the_name_of_a_part_is_nobodys_leftover(tmp_path):
    (tmp_path / f".part-{leftovers.MACHINE}-{DEAD}-a").mkdir()
    leftovers.sweep(tmp_path)
    assert len(names(tmp_path)) == 1
