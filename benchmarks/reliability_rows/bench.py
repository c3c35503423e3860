"""What the rows share: a cell of the table, and a folder, a network and the command line to fill it."""

from __future__ import annotations

import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from predict import Stock
from readers import GIB, Read, read_itk, read_monai, read_ours, segment_itk, segment_monai

from acdc_semicycle import cli


@dataclass
class Cell:
    """What one tool did: the cases that ended well, of how many, and how the others ended."""

    outcomes: dict[str, tuple[bool, str]] = field(default_factory=dict)
    note: str = ""

    def add(self, name: str, well: bool, how: str = "") -> None:
        self.outcomes[name] = (well, how)

    def as_json(self) -> dict[str, Any]:
        wrong = {name: how for name, (well, how) in self.outcomes.items() if not well}
        return {"good": len(self.outcomes) - len(wrong), "of": len(self.outcomes), "note": self.note, "failures": wrong}


Row = tuple[str, dict[str, Cell]]


@dataclass(frozen=True)
class Bench:
    """What the parts share: a folder to work in, how much of everything, and the tools with one network."""

    folder: Path
    short: bool
    model: Path
    stock: Stock

    @property
    def readers(self) -> dict[str, Callable[[Path], Read]]:
        return {"SimpleITK": read_itk, "MONAI": partial(read_monai, stock=self.stock), "ours": read_ours}

    @property
    def segmenters(self) -> dict[str, Callable[[Path, Path], Path]]:
        itk = partial(segment_itk, network=self.stock.network)
        return {} if self.short else {"SimpleITK": itk, "MONAI": partial(segment_monai, stock=self.stock)}

    def few(self, many: int, short: int) -> int:
        return short if self.short else many

    def seconds(self, tool: str) -> int:
        """After so many a tool hangs on one file."""
        return self.few(20, 10 if tool == "ours" else 3)


def semicycle(*words: Any, memory: int = 8 * GIB) -> subprocess.CompletedProcess[str]:
    """The command line, in a forked process and on one core: the libraries are loaded."""
    with tempfile.TemporaryDirectory(prefix="semicycle") as folder:
        streams = [Path(folder, name) for name in ("stdout", "stderr")]
        child = os.fork()
        if child == 0:
            become(["semicycle", *map(str, words)], streams, memory)
        _, status = os.waitpid(child, 0)
        texts = [stream.read_text(encoding="utf-8", errors="surrogateescape") for stream in streams]
    return subprocess.CompletedProcess(words, os.waitstatus_to_exitcode(status), *texts)


def become(words: list[str], streams: Sequence[Path], memory: int) -> None:
    """Run a command in this process and end it; never returns."""
    code: Any = 1
    try:
        for descriptor, stream in enumerate(streams, start=1):
            os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT), descriptor)
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        logging.disable(logging.NOTSET)
        warnings.resetwarnings()
        sys.argv = words
        code = cli.main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def predict(source: Path, out: Path, model: Path) -> tuple[int, dict[str, Path], dict[str, str]]:
    """``semicycle predict``: its exit code, the mask of each scan, and why there is none."""
    done = semicycle("predict", source, "-o", out, "--model", model, "--no-cycle", "--no-largest")
    if not (out / "predictions.json").is_file():
        return done.returncode, {}, {}
    manifest = json.loads((out / "predictions.json").read_text(encoding="utf-8"))
    masks = {case["scan"]: out / case["mask"] for case in manifest["cases"]}
    said = {each["scan"]: each["reason"] for each in manifest["failures"]}
    unheard = [scan for scan, reason in said.items() if reason not in done.stderr]
    return done.returncode, masks, said | dict.fromkeys(unheard, "nothing on the terminal")
