"""A training and a prediction need a folder to write in, and nothing else of a user's machine."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOREIGN = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]  # of no user and no group
FOREIGN += [
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
]  # reads all, and writes as others do
LEFT_OUT = {"HOME", "XDG_CACHE_HOME", "USER", "LOGNAME", "LNAME", "USERNAME"}
# in one process, which loads its libraries once: what a command would become is run in its place
ONE_AFTER_ANOTHER = """
import os, runpy, sys
from acdc_semicycle import cli

def run_here(program, words):
    sys.argv = words[2:]
    runpy.run_module(words[2], run_name="__main__", alter_sys=True)

os.execv = run_here
for command in sys.argv[1:]:
    sys.argv = ["semicycle", *command.split()]
    os.environ.pop("USER", None)  # the command before may have named the user
    code = cli.main()
    if code:
        sys.exit(code)
"""
WORDS = "--image_size [32,32] --filters 2 --blocks 1 --d_filters 2 --epochs 1 --steps_per_epoch 1"


@pytest.fixture
def folder():
    """A folder that any user may write in; pytest's own lie in one that only their user may enter."""
    with tempfile.TemporaryDirectory(prefix="semicycle-") as name:
        Path(name).chmod(0o777)
        yield Path(name)


def semicycle(folder: Path, home: str | None, user: list[str], *commands: str) -> None:
    """Run commands in a folder; nothing but that folder, and the temporary one, is this user's to write."""
    environment = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    if home is not None:
        environment["HOME"] = home
    command = [*user, sys.executable, "-c", ONE_AFTER_ANOTHER, *commands]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("home", "user"),
    [(None, []), ("/nowhere", []), ("/proc", []), (None, FOREIGN), ("/", FOREIGN), ("/root", FOREIGN)],
    ids=str,
)
def test_it_trains_and_predicts_without_a_home_and_as_a_user_without_a_name(folder, phantom_dir, home, user):
    """A foreign user may not write in the package's folder, either."""
    if user and (shutil.which("setpriv") is None or subprocess.run([*user, "true"]).returncode):
        pytest.skip("a command as another user takes setpriv, and root")
    data = folder / "data"
    shutil.copytree(phantom_dir, data)
    train = f"train {WORDS} --dataset_dir {data} --output_dir run"
    semicycle(folder, home, user, train, f"predict {data}/training/patient001 -o OUT --model run")
    assert len(list((folder / "OUT").rglob("*_seg.nii.gz"))) == 2
