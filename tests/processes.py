"""Python in processes of their own that are forked off one which has loaded torch and MONAI already.

Loading these two takes seconds, a run of the tests' size less than one. Each process still loads this package itself
and has its own folder, environment, signal handlers and exit code. What happens while a command loads its libraries is
for the tests that start a whole interpreter.
"""

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIBRARIES = ["monai.bundle", "torch.utils.tensorboard", "SimpleITK", "matplotlib.figure", "rich.progress", "jinja2"]
LIBRARIES += ["fire", "torch._dynamo"]  # which torch loads for its first optimiser
LEFT_OUT = ("ACDC_DIR", "VOC_DIR", "CITYSCAPES_DIR", "SEMICYCLE_CACHE")  # a user's own settings reach no test


def context() -> BaseContext:
    """What starts a process: multiprocessing's fork server, which has the libraries."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(LIBRARIES)
    return server


def start(*words: object, output: Path | None = None, cwd: Path = ROOT, **environment: str) -> BaseProcess:
    """Start Python with the words of its own command line: ``-m module``, ``-c program`` or a file, and arguments.

    Args:
        output: a folder for the files ``stdout`` and ``stderr``; without one, both are thrown away.
    """
    names = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    streams = [os.devnull, os.devnull] if output is None else [str(output / "stdout"), str(output / "stderr")]
    arguments = ([str(word) for word in words], str(cwd), names | environment, streams)
    process = context().Process(target=_become, args=arguments)
    process.start()
    return process


def run(*words: object, check: bool = True, cwd: Path = ROOT, seconds: float = 300, **environment: str):
    """The same as ``subprocess.run`` with its text; an exit code other than 0 fails the test, unless told not to."""
    with tempfile.TemporaryDirectory(prefix="command") as folder:
        output = Path(folder)
        process = start(*words, output=output, cwd=cwd, **environment)
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
        texts = [(output / name).read_text() for name in ("stdout", "stderr")]
    done = subprocess.CompletedProcess(words, process.exitcode, *texts)
    assert done.returncode is not None, f"not over after {seconds} s: {done}"
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def _become(words: list[str], cwd: str, environment: dict[str, str], streams: list[str]) -> None:
    """What Python does when it starts and ends a program."""
    multiprocessing.set_start_method(None, force=True)  # its own children start as everywhere, and not as it did
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.path[:] = [cwd, str(ROOT), *filter(_is_of_python, sys.path)]
    for descriptor, stream in enumerate(streams, start=1):
        os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    sys.orig_argv = [sys.executable, *words]
    try:
        _program(*words)
    except SystemExit:
        raise
    except BaseException:
        sys.excepthook(*sys.exc_info())
        raise SystemExit(1) from None
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()


def _is_of_python(path: str) -> bool:
    """Whether a folder to import from is Python's or its environment's, which may lie below the repository."""
    return Path(path).is_relative_to(sys.prefix) or not Path(path).is_relative_to(ROOT)


def _program(first: str, *words: str) -> None:
    """Run what Python's command line names."""
    if first == "-c":
        sys.argv = ["-c", *words[1:]]
        exec(words[0], {"__name__": "__main__"})
    elif first == "-m":
        sys.argv = list(words)
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = [first, *words], str(Path(first).parent)
        runpy.run_path(first, run_name="__main__")
