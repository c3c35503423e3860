"""One process at a time, and none that is gone keeps the others waiting."""

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from acdc_semicycle.data import cache
from acdc_semicycle.experiments.run_lock import run_lock
from acdc_semicycle.runtime import locks
from acdc_semicycle.runtime.errors import InputError

HOLD = """
import os, sys
from pathlib import Path
from acdc_semicycle.runtime.locks import claimed
print(claimed(Path(sys.argv[1])), flush=True)
if len(sys.argv) > 2 and os.fork() == 0:
    print(os.getpid(), flush=True)
    sys.stdin.read()
sys.stdin.read()
"""


def hold(folder: Path, *forks: str) -> subprocess.Popen:
    command = [sys.executable, "-c", HOLD, str(folder), *forks]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def is_free(path: Path) -> bool:
    with locks.lock_file(path) as lock:
        return locks.try_lock(lock)


def test_a_folder_is_one_processs_until_that_one_ends(tmp_path):
    with hold(tmp_path / "a") as first:
        assert first.stdout.readline() == "True\n"
        assert not locks.claimed(tmp_path / "a") and locks.claimed(tmp_path / "b")
        with hold(tmp_path / "b") as second:
            assert second.stdout.readline() == "False\n"
        first.kill()
    assert locks.claimed(tmp_path / "a")


def test_what_a_process_has_claimed_is_its_own_by_any_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("a")
    assert all(locks.claimed(path) for path in (tmp_path / "a", Path("a"), tmp_path / "link", tmp_path / "b/../a"))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(InputError, match=r"a cannot be written \(File exists\)"):
        locks.claimed(tmp_path / "a")


def test_a_forked_child_does_not_keep_the_lock_of_a_killed_parent(tmp_path):
    with hold(tmp_path, "fork") as parent:
        assert parent.stdout.readline() == "True\n"
        child = int(parent.stdout.readline())
        assert not locks.claimed(tmp_path)
        parent.kill()
        parent.wait()
        os.kill(child, 0)  # lives
        assert locks.claimed(tmp_path)
        os.kill(child, signal.SIGKILL)


def test_a_started_program_keeps_the_lock_that_it_is_handed_and_no_other(tmp_path):
    command = [sys.executable, "-c", "import sys; print(1, flush=True); sys.stdin.read()"]
    with locks.lock_file(tmp_path / "a") as handed, locks.lock_file(tmp_path / "b") as other:
        assert locks.try_lock(handed) and locks.try_lock(other)
        child = subprocess.Popen(command, stdin=-1, stdout=-1, pass_fds=[handed.fileno()])
        assert child.stdout.readline() == b"1\n"
    with child:
        assert not is_free(tmp_path / "a") and is_free(tmp_path / "b")
        child.kill()
    assert is_free(tmp_path / "a")


def test_who_waits_says_so_and_goes_on_once_the_lock_is_free(tmp_path, caplog):
    waited = threading.Event()

    def wait():
        with cache._alone(tmp_path / "slices.npy"):
            waited.set()

    with caplog.at_level(logging.INFO), hold(tmp_path) as other:
        assert other.stdout.readline() == "True\n"
        thread = threading.Thread(target=wait)
        thread.start()
        assert not waited.wait(0.3)
        assert f"another run prepares slices in {tmp_path}: waiting for it" in caplog.text
        other.kill()
    thread.join(10)
    assert waited.is_set()


def refusing(code):
    def flock(*_):
        raise OSError(code, os.strerror(code))

    return flock


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_on_a_file_system_without_locks_all_goes_on_with_one_warning(tmp_path, monkeypatch, caplog, code):
    monkeypatch.setattr(locks.fcntl, "flock", refusing(code))
    monkeypatch.setattr(locks, "_warned", [])
    monkeypatch.setattr(locks, "_claimed", {})
    with locks.lock_file(tmp_path / "a") as lock:
        assert locks.try_lock(lock)
        locks.wait_and_lock(lock)
    assert locks.claimed(tmp_path / "b")
    with cache._alone(tmp_path / "c" / "slices.npy"):
        pass
    with run_lock(tmp_path / "d") as held:
        assert held is not None
    (message,) = caplog.messages
    assert message.startswith(f"{tmp_path} lies on a file system without locks ({os.strerror(code)}): start one")


def test_any_other_fault_of_a_lock_is_an_error(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(locks.fcntl, "flock", refusing(errno.EIO))
    for lock_it in (locks.try_lock, locks.wait_and_lock):
        with pytest.raises(OSError, match="Input/output error"), locks.lock_file(tmp_path / "a") as lock:
            lock_it(lock)
    assert not caplog.messages
