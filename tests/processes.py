"""Commands in processes of their own that are forked off one which has loaded torch and MONAI already.

Loading these two takes seconds, a run of the tests' size less than one. Each process still loads this package itself and
has its own folder, environment, signal handlers and exit code. What happens while a command loads is for the tests that
start a whole interpreter.
"""

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from multiprocessing.process import BaseProcess
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARIES = ["monai.bundle", "torch.utils.tensorboard", "SimpleITK", "matplotlib.figure", "rich.progress", "jinja2", "fire"]
LEFT_OUT = ("ACDC_DIR", "VOC_DIR", "CITYSCAPES_DIR", "SEMICYCLE_CACHE")  # a user's own settings reach no test


def start(module: str, *words: object, output: Path | None = None, cwd: Path = ROOT, **environment: str) -> BaseProcess:
    """Start ``python -m module words`` in the folder ``cwd``.

    Args:
        output: a folder for the files ``stdout`` and ``stderr``; without one, both are thrown away.
    """
    names = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    streams = [os.devnull, os.devnull] if output is None else [str(output / "stdout"), str(output / "stderr")]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    arguments = (module, [str(word) for word in words], str(cwd), names | environment, streams)
    process = context.Process(target=_become, args=arguments)
    process.start()
    return process


def run(module: str, *words: object, check: bool = True, cwd: Path = ROOT, **environment: str):
    """``python -m module words``, like ``subprocess.run`` with its text; an exit code but 0 fails the test."""
    with tempfile.TemporaryDirectory(prefix="command") as folder:
        output = Path(folder)
        process = start(module, *words, output=output, cwd=cwd, **environment)
        process.join(300)
        if process.exitcode is None:
            process.kill()
        texts = [(output / name).read_text() for name in ("stdout", "stderr")]
    done = subprocess.CompletedProcess([module, *words], process.exitcode, *texts)
    assert done.returncode is not None, f"not over after 300 s: {done}"
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def _become(module: str, words: list[str], cwd: str, environment: dict[str, str], streams: list[str]) -> None:
    """What the new process does: all that Python does when it starts and ends a program."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.path[:] = [cwd, str(ROOT), *(path for path in sys.path if not Path(path).is_relative_to(ROOT))]
    for descriptor, stream in enumerate(streams, start=1):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.argv, sys.orig_argv = [module, *words], [sys.executable, "-m", module, *words]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit:
        raise
    except BaseException:
        sys.excepthook(*sys.exc_info())
        raise SystemExit(1) from None
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
