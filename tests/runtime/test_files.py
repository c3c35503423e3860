"""Files are there whole or not at all, whatever ends the process that writes them."""

import errno
import itertools
import os
import re
import signal
from pathlib import Path

import pytest

from acdc_semicycle.runtime import files, leftovers
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


def no_links(*_):
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))  # as exFAT and many network file systems


def test_without_hard_links_the_old_file_gets_its_other_name_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", no_links)
    path, previous = tmp_path / "a.txt", tmp_path / "previous.txt"
    for text in "123":
        with files.replacing(path, previous) as part:
            part.write_text(text)
    assert (path.read_text(), previous.read_text()) == ("3", "2")
    assert names(tmp_path) == ["a.txt", "previous.txt"]


def test_without_hard_links_the_newest_file_has_its_name_again_where_the_new_one_cannot_have_it(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", no_links)
    path, previous = tmp_path / "a.txt", tmp_path / "previous.txt"
    for text in "12":
        with files.replacing(path, previous) as part:
            part.write_text(text)
    replace = Path.replace

    def refused(part, target):
        if part.name.startswith(".part-"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return replace(part, target)

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(InputError, match=r"a\.txt cannot be written \(Input/output error\): give a folder"):
        files.write_text(path, "3")
    assert path.read_text() == "2" and names(tmp_path) == ["a.txt", "previous.txt"]
    with pytest.raises(InputError, match="Input/output error"), files.replacing(path, previous) as part:
        part.write_text("3")
    assert path.read_text() == "2" and not [name for name in names(tmp_path) if "part" in name]


CALLS = ("replace", "link", "unlink", "fsync")


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("before", [True, False])
def test_killed_at_any_call_the_newest_file_that_was_done_is_there_whole(tmp_path, links, before):
    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        path, previous = folder / "a.txt", folder / "previous.txt"
        for text in ("1" * 9, "2" * 9):
            with files.replacing(path, previous) as part:
                part.write_text(text)
        child = os.fork()
        if child == 0:
            try:
                if not links:
                    os.link = no_links
                die_at_call(number, before)
                with files.replacing(path, previous) as part:
                    part.write_text("3" * 9)
            finally:
                os._exit(0)
        status = os.waitpid(child, 0)[1]
        contents = [file.read_text() for file in (path, previous) if file.exists()]
        assert set(contents) <= {"1" * 9, "2" * 9, "3" * 9} and contents[0] >= "2" * 9, number
        assert path.exists() or not links
        leftovers.sweep(folder)
        with files.replacing(path, previous) as part:
            part.write_text("4")
        assert (path.read_text(), previous.read_text()) == ("4", contents[0])
        assert names(folder) == ["a.txt", "previous.txt"]
        if not os.WIFSIGNALED(status):
            assert number > 3  # every call has been the last one
            return
    raise AssertionError("no save came to its end")


def die_at_call(number: int, before: bool) -> None:
    """End this process before or after the call of this number, from 0, by which a file gets or loses its name."""
    count = itertools.count()

    def trapped(call):
        def counted(*arguments, **more):
            last = next(count) == number
            if last and before:
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return call(*arguments, **more)
            finally:
                if last:
                    os.kill(os.getpid(), signal.SIGKILL)

        return counted

    for name in CALLS:
        setattr(os, name, trapped(getattr(os, name)))


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EACCES])
def test_a_folder_that_the_file_system_does_not_flush_is_no_error(tmp_path, monkeypatch, code):
    monkeypatch.setattr(os, "fsync", failing(code))
    files.flush_folder(tmp_path)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_folder_that_a_broken_or_full_disk_does_not_flush_is_an_error(tmp_path, monkeypatch, code):
    monkeypatch.setattr(os, "fsync", failing(code))
    with pytest.raises(OSError, match=re.escape(os.strerror(code))):
        files.flush_folder(tmp_path)


def failing(code: int):
    def call(*_):
        raise OSError(code, os.strerror(code))

    return call


def test_room_is_advised_where_it_lacks_and_nowhere_else(tmp_path):
    for code, advice in ((errno.EDQUOT, "make room, or give a folder"), (errno.EROFS, "give a folder")):
        with pytest.raises(InputError, match=rf"\): {advice} that can be written"), files.writing(tmp_path / "a.txt"):
            raise OSError(code, os.strerror(code))


def test_a_file_is_ours_only_if_it_has_every_sign(tmp_path):
    files.check_ours(tmp_path / "none.json", "a", "b")
    for content, ours in (("ab", True), ("a", False), ("b", False), ("", False)):
        (tmp_path / "a.json").write_text(content)
        if ours:
            files.check_ours(tmp_path / "a.json", "a", "b")
        else:
            with pytest.raises(InputError, match=r"a\.json is there and is not of this program"):
                files.check_ours(tmp_path / "a.json", "a", "b")
