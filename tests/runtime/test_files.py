"""Files are there whole or not at all, whatever ends the process that writes them."""

import os
import signal
from pathlib import Path

import pytest

from acdc_semicycle.runtime import files
from acdc_semicycle.runtime.errors import InputError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_once_it_is_whole_and_the_old_one_gets_its_other_name(tmp_path):
    path = tmp_path / "new" / "a.txt"
    files.write_text(path, "1")
    with files.replacing(path, path.with_name("previous.txt")) as part:
        part.write_text("2")
        assert path.read_text() == "1" and part.suffix == ".txt"
    assert (path.read_text(), path.with_name("previous.txt").read_text()) == ("2", "1")
    assert names(path.parent) == ["a.txt", "previous.txt"]


def test_what_raises_meanwhile_leaves_the_old_file_and_no_part(tmp_path):
    files.write_text(tmp_path / "a.txt", "1")
    with pytest.raises(ZeroDivisionError), files.replacing(tmp_path / "a.txt") as part:
        part.write_text("2")
        1 / 0  # noqa: B018
    assert (tmp_path / "a.txt").read_text() == "1" and names(tmp_path) == ["a.txt"]


def test_the_reason_of_the_system_is_found_below_that_of_a_library(tmp_path):
    words = r"a\.txt cannot be written \(No space left on device\): make room"
    with pytest.raises(InputError, match=words), files.writing(tmp_path / "a.txt"):
        raise RuntimeError("unexpected pos 64 vs 0") from OSError(28, "No space left on device")


def test_the_part_of_a_killed_process_is_removed_and_no_other(tmp_path):
    files.write_text(tmp_path / "a.txt", "1")
    child = os.fork()
    if child == 0:
        with files.replacing(tmp_path / "a.txt") as part:
            part.write_text("2")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert (tmp_path / "a.txt").read_text() == "1"
    assert names(tmp_path) == [f".part-{child}-a.txt", "a.txt"]
    (tmp_path / ".part-7-b.txt").touch()
    files.remove_leftovers(tmp_path, "a.txt")
    assert names(tmp_path) == [".part-7-b.txt", "a.txt"]


def test_a_file_is_ours_only_if_it_has_every_sign(tmp_path):
    files.check_ours(tmp_path / "none.json", "a", "b")
    for content, ours in (("ab", True), ("a", False), ("b", False), ("", False)):
        (tmp_path / "a.json").write_text(content)
        if ours:
            files.check_ours(tmp_path / "a.json", "a", "b")
        else:
            with pytest.raises(InputError, match=r"a\.json is there and is not of this program"):
                files.check_ours(tmp_path / "a.json", "a", "b")
