"""What may import what, and what no module does."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import acdc_semicycle

PACKAGE = Path(acdc_semicycle.__file__).parent
FLOORS = [  # each folder imports from itself and from those before it
    "runtime",
    "methods",
    "imageio",
    "datasets",
    "data",
    "config",
    "artifacts",
    "evaluation",
    "experiments",
    "report",
    "inference",
    "annotation",
    "training",
    "commands",
]
ONLY = {
    "methods.shapes": set(),
    "methods.image_pool": set(),
    "methods.losses": {"methods.shapes"},
    "methods.networks": {"methods.shapes"},
    "methods.teacher": {"methods.shapes"},
    "methods.objective": {"methods.losses", "methods.shapes", "methods.teacher"},
    "methods.semicycle": {"methods.losses", "methods.image_pool", "methods.objective", "methods.shapes"},
    "methods.supervised": {"methods.losses", "methods.objective", "methods.shapes"},
    "methods.bcp": {
        "methods.components",
        "methods.encoding",
        "methods.mixing",
        "methods.objective",
        "methods.shapes",
        "methods.supervised",
        "methods.teacher",
    },
    "methods.unimatch": {
        "runtime.errors",
        "methods.encoding",
        "methods.mixing",
        "methods.objective",
        "methods.shapes",
        "methods.supervised",
    },
    "methods.hung": {"runtime.errors", "methods.losses", "methods.objective", "methods.shapes"},
}
NEVER = {  # floors below, and yet not to be known
    "imageio": {"methods"},
    "datasets": {"methods"},
    "data": {"methods"},
    "report": {"methods", "training", "inference"},
    "evaluation": {"methods"},
}


def name_of(path: Path) -> str:
    """``data/acdc.py`` is ``data.acdc``, ``data/__init__.py`` is ``data``, the package itself is ``""``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {name_of(path): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def imports(tree: ast.Module) -> Iterator[str]:
    """Full names of all that is imported, inside functions too; of ``from a import b`` both a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "say where from: no relative imports"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours(tree: ast.Module) -> set[str]:
    """The modules of this package that a module imports, without the package itself."""
    found = {full.removeprefix("acdc_semicycle.") for full in imports(tree) if full.startswith("acdc_semicycle.")}
    return found & set(TREES) - {""}


def calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Every call under the name it is written with: ``print``, ``torch.load``, ``self.net.eval``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def room(name: str) -> str:
    """The folder that a module lies in; a module of the top level is its own."""
    return name.split(".")[0]


def test_the_files_are_found():
    assert {"methods.semicycle", "training.trainer", "data", "datasets.acdc", ""} <= TREES.keys()
    assert "methods.losses" in ours(TREES["methods.semicycle"])  # so the tests below see something


def test_every_folder_has_its_floor():
    assert {room(name) for name in TREES if "." in name} == set(FLOORS)


@pytest.mark.parametrize("name", ONLY)
def test_the_method_is_made_of_what_lies_below_it(name):
    assert {other for other in ours(TREES[name]) if "." in other} <= ONLY[name]


@pytest.mark.parametrize("name", [name for name in TREES if room(name) in FLOORS])
def test_no_folder_imports_from_one_above_it(name):
    allowed = set(FLOORS[: FLOORS.index(room(name)) + 1]) - NEVER.get(room(name), set())
    assert {room(other) for other in ours(TREES[name])} <= allowed


def test_every_folder_says_what_lives_in_it():
    silent = [name for name in FLOORS if len((ast.get_docstring(TREES[name]) or "").split("\n\n")) != 2]
    assert silent == []


def test_only_the_command_line_imports_the_command_line():
    assert [name for name, tree in TREES.items() if "cli" in ours(tree) and name not in ("cli", "__main__")] == []


def test_imports_go_one_way():
    order = TopologicalSorter({name: ours(tree) - set(FLOORS) for name, tree in TREES.items()})
    order.prepare()  # raises CycleError, which names the circle


def test_only_the_command_line_and_what_it_shows_print():
    loud = {name for name, tree in TREES.items() for called, _ in calls(tree) if called == "print"}
    speaking = {"cli", "commands.arguments", "commands.data", "commands.results", "commands.running"}
    speaking |= {"evaluation.model_report", "config.command", "config.failures", "config.tasks"}
    assert loud <= speaking | {"experiments.command", "experiments.progress", "experiments.folds"}


@pytest.mark.parametrize("name", TREES)
def test_no_error_is_swallowed_whole(name):
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"a bare except in line {node.lineno}"
            silent = len(node.body) == 1 and isinstance(node.body[0], ast.Pass)
            broad = ast.unparse(node.type) in ("Exception", "BaseException")
            assert not (silent and broad), f"every error passed over in line {node.lineno}"


@pytest.mark.parametrize("name", TREES)
def test_nothing_runs_what_a_file_or_a_string_says(name):
    forbidden = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads"}
    forbidden |= {"yaml.load", "yaml.unsafe_load", "joblib.load", "shutil.unpack_archive"}
    for called, call in calls(TREES[name]):
        assert called not in forbidden, f"{called} in line {call.lineno}"
        assert not called.endswith((".extractall", ".extract")), f"{called} in line {call.lineno}"
        words = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert words.get("shell", "False") == "False", f"a shell in line {call.lineno}"
        assert words.get("allow_pickle", "False") == "False", f"a pickle in line {call.lineno}"
        if called == "torch.load":
            assert words.get("weights_only") == "True", f"torch.load of anything in line {call.lineno}"


@pytest.mark.slow
def test_importing_says_nothing_and_writes_nothing(tmp_path):
    modules = [f"acdc_semicycle.{name}" for name in TREES if name not in ("", "__main__")]
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import {', '.join(modules)}"],
        capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": str(PACKAGE.parent), "HOME": str(tmp_path)},
    )  # fmt: skip
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert [path for path in tmp_path.iterdir() if not path.name.startswith(".")] == []
