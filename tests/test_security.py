"""What the source must not do: run what files say, unpack without a limit, read XML, speak to a network."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import run

ROOT = Path(__file__).parents[1]
PICKLES = {"pickle", "_pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle"}
XML = {"xml", "lxml", "defusedxml", "expat", "pyexpat"}
NETWORK = {
    "urllib",
    "requests",
    "socket",
    "ssl",
    "http",
    "ftplib",
    "smtplib",
    "socketserver",
    "xmlrpc",
    "aiohttp",
    "httpx",
}
CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}
METHODS = {"extractall", "extract", "unpack_archive"}


def called(call: ast.Call) -> str:
    """``torch.load`` of ``torch.load(path)``."""
    return ast.unparse(call.func)


def constant(call: ast.Call, name: str) -> object:
    given = {word.arg: word.value for word in call.keywords}.get(name)
    return given.value if isinstance(given, ast.Constant) else given


def dangers(source: str) -> Iterator[str]:
    """What in a file's source could run or fetch what is none of ours."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            yield from (f"imports {name}" for name in modules if name.split(".")[0] in PICKLES | XML | NETWORK)
            if isinstance(node, ast.ImportFrom) and node.module in ("os", "yaml", "torch", "numpy", "shutil"):
                hidden = {"system", "popen", "load", "unsafe_load", "unpack_archive"}
                yield from (f"hides {node.module}.{name.name}" for name in node.names if name.name in hidden)
        if not isinstance(node, ast.Call):
            continue
        name = called(node)
        end = name.split(".")[-1]
        if name in CALLS or (isinstance(node.func, ast.Attribute) and end in METHODS):
            yield f"calls {name}"
        if name == "yaml.load" and "SafeLoader" not in ast.unparse(node):
            yield "calls yaml.load without SafeLoader"
        if name in ("yaml.unsafe_load", "yaml.full_load"):
            yield f"calls {name}"
        if name == "torch.load" and constant(node, "weights_only") is not True:
            yield "calls torch.load without weights_only=True"
        if end in ("load", "read_array") and constant(node, "allow_pickle") not in (None, False):
            yield f"calls {name} with allow_pickle"
        if constant(node, "shell") not in (None, False):
            yield f"calls {name} with shell=True"


PACKAGE = sorted((ROOT / "acdc_semicycle").rglob("*.py"))


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_of_the_package_runs_and_fetches_nothing_of_others(path):
    assert not list(dangers(path.read_text(encoding="utf-8")))


def test_there_are_files_to_look_at():
    assert len(PACKAGE) > 50


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle",
        "from cPickle import loads",
        "import dill, os",
        "def f():\n    import joblib",
        "import marshal as m",
        "import shelve",
        "eval(text)",
        "exec(text)",
        "compile(text, '', 'exec')",
        "__import__('os')",
        "yaml.load(stream)",
        "yaml.load(stream, Loader=yaml.Loader)",
        "yaml.unsafe_load(stream)",
        "from yaml import load",
        "archive.extractall(folder)",
        "ZipFile(path).extract(name)",
        "shutil.unpack_archive(path)",
        "subprocess.run(words, shell=True)",
        "subprocess.Popen(words, shell=flag)",
        "os.system(words)",
        "os.popen(words)",
        "from os import system",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "from torch import load",
        "np.load(path, allow_pickle=True)",
        "np.lib.format.read_array(stream, allow_pickle=flag)",
        "import xml.etree.ElementTree as ET",
        "from lxml import etree",
        "from urllib.request import urlopen",
        "import requests",
        "import socket",
        "import http.client",
        "from ftplib import FTP",
    ],
)
def test_a_danger_that_is_planted_is_found(planted):
    assert list(dangers(planted))


@pytest.mark.parametrize(
    "harmless",
    ["yaml.safe_load(s)", "yaml.load(s, Loader=yaml.SafeLoader)", "torch.load(p, weights_only=True)", "model.eval()",
     "np.load(p)", "re.compile(p)", "torch.compile(m)", "np.load(p, allow_pickle=False)", "subprocess.run(w)"],
)  # fmt: skip
def test_what_is_harmless_is_let_pass(harmless):
    assert not list(dangers(harmless))


CONFIGS = [*(ROOT / "bundles").rglob("*.json"), *(ROOT / "bundles").rglob("*.conf"), *(ROOT / "configs").glob("*.*")]


@pytest.mark.parametrize("path", sorted(CONFIGS), ids=lambda path: path.name)
def test_a_shipped_configuration_starts_no_program_and_evaluates_no_text(path):
    words = ("os.system", "os.popen", "subprocess", "__import__", "eval(", "exec(", "pickle", "urllib", "socket")
    text = path.read_text(encoding="utf-8")
    assert not [word for word in words if word in text]
    # what a logging.conf gives its handlers, Python evaluates
    assert {line for line in text.splitlines() if line.startswith(("args", "kwargs"))} <= {"args=(sys.stderr,)"}


OFFLINE = """
import runpy, sys

def refuse(event, arguments):
    if event == "socket.bind" and arguments[1][0] in ("::1", "127.0.0.1"):
        return  # urllib3, which MONAI imports where it is installed, looks whether this machine has IPv6
    if event.startswith("socket.") and event not in ("socket.gethostname", "socket.__new__"):
        raise SystemExit(f"{event}{arguments}: a network was asked for")

sys.addaudithook(refuse)
module, *sys.argv = sys.argv[1:]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def offline(cwd: Path, module: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run a module in a process that may not name, nor connect to, nor send to another machine."""
    names = {name: value for name, value in os.environ.items() if name != "ACDC_DIR"}
    command = [sys.executable, "-c", OFFLINE, module, module, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=names | {"PYTHONPATH": str(ROOT)})


def test_the_block_blocks(tmp_path):
    (tmp_path / "call.py").write_text("import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')")
    done = offline(tmp_path, "call")
    assert done.returncode and "a network was asked for" in done.stderr


@pytest.mark.slow
def test_training_and_prediction_need_no_network(tmp_path, phantom_dir):
    tiny = {"image_size": [32, 32], "filters": 2, "blocks": 1, "d_filters": 2, "epochs": 1, "batch_size": 2}
    options = [word for key, value in tiny.items() for word in (f"--{key}", json.dumps(value))]
    train = str(ROOT / "bundles" / "semicycle" / "configs" / "train.json")
    given = ["--dataset_dir", str(phantom_dir), "--output_dir", "runs/a"]
    done = offline(tmp_path, "monai.bundle", "run", "training", "--config_file", train, *given, *options)
    assert done.returncode == 0, done.stderr
    scan = next(phantom_dir.rglob("*_frame01.nii.gz"))
    # where the libraries are loaded already: the training, too, has loaded them without a network
    run(
        "-c",
        OFFLINE,
        "acdc_semicycle",
        "acdc_semicycle",
        "predict",
        scan,
        "--model",
        "runs/a",
        "-o",
        "out",
        cwd=tmp_path,
    )
    assert list((tmp_path / "out").glob("*_seg.nii.gz"))
