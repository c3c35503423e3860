"""README and the pages of docs/: short sentences, commands that are understood, links that lead somewhere, a site."""

import argparse
import ast
import importlib.util
import json
import os
import re
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import documents
import pytest
from documents import CONTRIBUTING, NOT_PROSE, PAGES, README, ROOT, name_of

from acdc_semicycle import __version__, cli
from acdc_semicycle.commands import running
from acdc_semicycle.commands.arguments import Parser
from acdc_semicycle.config import command as bundle_command
from acdc_semicycle.config import locations, run_config
from acdc_semicycle.config import overlays as overlay_files
from acdc_semicycle.config.options import options_of
from acdc_semicycle.experiments import command as table_command
from acdc_semicycle.experiments import folds, grid
from tests.config.test_bundle import TINY, workflow
from tests.test_security import offline

CONFIGS = ROOT / "bundles" / "semicycle" / "configs"
OTHERS = {"--config_file", "--logdir", "--nproc_per_node", "--short", "--KEY", "--levers", "--batches", "--sizes"}
OTHERS |= {"--process-time", "--fp32", "--shm-size", "--user"}
MEASURED = ("predict", "performance", "reliability", "results/README")
each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


class Parsed(Exception):
    """Raised in the place of what a command would do."""


@pytest.fixture
def understood(monkeypatch, tmp_path):
    """A function that reads the words after ``semicycle`` as the program does, and does nothing with them."""
    parse = argparse.ArgumentParser.parse_known_args

    def stop(parser, words=None, namespace=None):
        _, more = parse(parser, words, namespace)
        if more and "predict" not in parser.prog:
            parser.error(f"unrecognized arguments: {' '.join(more)}")
        check_keys("inference.json", [f"--{key}" for key in bundle_command.settings_of(more, running.SWITCHES)])
        raise Parsed

    def check(run_id, files, options):
        bundle_command._announce(run_id, files, options)
        check_keys("train.json", options, files)
        raise Parsed

    monkeypatch.setattr(Parser, "parse_known_args", stop)

    def check_folds(overlays, words):
        assert {option.key: option.value for option in options_of(words)}["folds"] in ("3", "leave-one-out")
        others = [f"--{option.key}={option.value}" for option in options_of(words) if option.key != "folds"]
        check("training", ["train.json", *overlays], others)

    monkeypatch.setattr(running, "become", check)
    (tmp_path / run_config.FILE).write_text("seed: 0\n")
    monkeypatch.setattr(run_config, "run_folder", lambda model: tmp_path)
    monkeypatch.setattr(folds, "train", check_folds)
    monkeypatch.setattr(grid, "data_folder", lambda dataset, path: path)
    monkeypatch.chdir(tmp_path)

    def read(words: list[str]) -> None:
        if words[0] == "table" and "--help" not in words:
            options = grid.Options.read(words[1:])
            check_keys("train.json", list(options.further), [*options.overlays, *options.methods])
            assert options.report or grid.cells(options)
        elif words[0] != "where":
            with suppress(Parsed):
                cli.VERBS[words[0]](words[1:])
                raise AssertionError(f"{words} was not read")

    return read


def check_keys(base: str, options: list[str], files=()) -> None:
    """Refuse keys that the configuration does not have, and nested ones of no section."""
    keys = [word.removeprefix("--").split("=")[0] for word in options if word.startswith("--")]
    if base == "train.json":
        locations.check_keys(keys, [file for file in files if file.endswith(".yaml")])
    known = overlay_files.read(CONFIGS / base)
    assert base == "train.json" or not {key.split("::")[0] for key in keys} - set(known), keys


def check_bundle(words: list[str]) -> None:
    """Check the words after ``monai.bundle run``: the task, the files and the keys."""
    task = words.pop(0) if not words[0].startswith("--") else None
    assert task in (None, "training", "evaluating") and words[0] == "--config_file"
    text = words[1].replace("$configs", "bundles/semicycle/configs")
    files = [str(ROOT / file) for file in (ast.literal_eval(text) if text.startswith("[") else [text])]
    assert not [file for file in files if not Path(file).is_file()]
    check_keys(Path(files[0]).name, words[2:], files)


def check_command(words: list[str], understood) -> None:
    """Check a command of this project; one of another program is let pass."""
    if "monai.bundle" in words:
        assert words[words.index("monai.bundle") + 1] == "run"
        check_bundle(words[words.index("monai.bundle") + 2 :])
    elif words[0] == "semicycle" or "acdc_semicycle" in words:
        own = words[1:] if words[0] == "semicycle" else words[words.index("acdc_semicycle") + 1 :]
        assert own[0] in cli.VERBS, own
        understood(own)
    elif words[0] == "make":
        check_make(words[1:])
    elif words[0] == "/usr/bin/time":
        check_command(words[2:], understood)
    elif words[0] in ("python", "bash"):
        check_program(words[1:])


def check_make(words: list[str]) -> None:
    """Check the target, and the variables that follow it."""
    makefile = documents.text_of(ROOT / "Makefile")
    assert re.search(rf"^{words[0]}:", makefile, re.MULTILINE), words
    assert all(word.split("=")[0] in ("ARGS", "EXTRA", "PYTHON") for word in words[1:])


def check_program(words: list[str]) -> None:
    """Check that a file or a module of this project is there."""
    path = words[1].replace(".", "/") + ".py" if words[0] == "-m" else words[0]
    assert (ROOT / path).is_file(), path


@each_page
def test_every_command_is_understood(page, understood, tmp_path):
    for name, content in documents.overlays(page).items():
        (tmp_path / name).write_text(content)
    for command in documents.commands(page):
        check_command(command, understood)


@each_page
def test_every_command_in_a_sentence_has_a_verb_that_there_is(page):
    for words in documents.inline_commands(page):
        program, *rest = words
        if program == "semicycle":
            assert rest[0] in {*cli.VERBS, "--help", "VERB"}, words
            leading = {word for word in rest[1:] if re.fullmatch(r"[a-z_]+\d*", word)}
            assert rest[0] != "train" or {Path(locations.overlay(name)).stem for name in leading} == leading
        elif program == "make":
            check_make(rest)
        elif "monai.bundle" not in words:
            check_program(words[words.index("bash") + 1 :] if "bash" in words else rest)


@pytest.fixture(scope="module")
def options() -> set[str]:
    """The options of all verbs, the keys of all configurations, and ``OTHERS`` of other programs."""
    known = OTHERS | set(re.findall(r"--[\w-]+", table_command.__doc__ + cli.__doc__))

    def collect(parser, words):
        known.update(parser._option_string_actions)
        raise Parsed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parser, "parse_args", collect)
        patch.setattr(Parser, "parse_known_args", collect)
        for verb in cli.VERBS.keys() - {"train", "table", "where"}:
            with suppress(Parsed):
                cli.VERBS[verb](["--pred"])  # without it, evaluate is the bundle's
    for path in (*CONFIGS.glob("*.json"), *(ROOT / "configs").glob("*.yaml")):
        known |= {f"--{key.split('::')[0]}" for key in overlay_files.read(path)}
    return known


@each_page
def test_every_option_in_a_sentence_is_one(page, options):
    assert {"--pred", "--probabilities", "--dry-run", "--labelled"} <= options
    for code in documents.inline_code(page):
        named = {word.split("=")[0].split("::")[0] for word in code.split() if re.match(r"--\w", word)}
        assert not named - options, code


@each_page
def test_python_on_a_page_imports_what_there_is(page):
    for block in documents.blocks(page, "python"):
        for line in ast.parse(block).body:
            if isinstance(line, ast.ImportFrom) and line.module.startswith("acdc_semicycle"):
                names = {name.name for name in line.names}
                module = importlib.import_module(line.module)
                missing = {name for name in names if not hasattr(module, name)}
                assert not {name for name in missing if not importlib.util.find_spec(f"{line.module}.{name}")}


@pytest.mark.parametrize("name", ["README.md", *(f"docs/{name}.md" for name in MEASURED)])
def test_no_table_of_figures_stands_without_its_command(name):
    sections = documents.sections(ROOT / name)
    tables = [section for section in sections if re.search(r"^\|.*\d\.\d", section, re.MULTILINE)]
    assert tables
    command_or_link = r"\b(semicycle t(rain|able) |python benchmarks/)|\(\S*results/README\.md"
    assert [section for section in tables if not re.search(command_or_link, section)] == []


WRITTEN = ("-o", "--output", "--output_dir", "--test", "--out")  # options before a folder that is written


@each_page
def test_what_a_command_of_a_page_writes_into_a_clone_is_ignored_by_git(page):
    ignored = documents.text_of(ROOT / ".gitignore").splitlines()
    for words in documents.commands(page):
        if "semicycle" in words[0] or "acdc_semicycle" in words:
            for option, folder in pairwise(words):
                if option in WRITTEN and not folder.startswith(("/", "0")):
                    assert f"/{folder.split('/')[0]}/" in ignored, words


@each_page
def test_every_link_leads_somewhere(page):
    for link in documents.links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if target == ROOT / "docs/contributing.md":
            target = CONTRIBUTING  # which it includes
        assert not anchor or anchor in documents.anchors(target), link


@each_page
def test_every_file_that_is_named_is_there(page):
    for code in documents.inline_code(page):
        path = re.match(r"(acdc_semicycle|benchmarks|bundles|configs|docs|tests)/[\w./-]+", code)
        if path and "<" not in code:
            assert (ROOT / path[0]).exists(), code


@pytest.mark.parametrize("page", [page for page in PAGES if page not in NOT_PROSE], ids=name_of)
def test_no_sentence_has_more_than_30_words(page):
    assert [sentence for sentence in documents.sentences(page) if documents.words(sentence) > 30] == []


def test_readme_has_at_most_120_lines_and_monais_command_once():
    text = documents.text_of(README)
    assert len(text.splitlines()) <= 120
    assert text.count("python -m monai.bundle run training --config_file bundles/semicycle/configs/train.json") == 1
    assert "SEMICYCLE_" not in text


def test_the_checks_find_what_is_planted(understood, tmp_path):
    for wrong in (["trian"], ["train", "huge"], ["train", "--epohs", "3"], ["train", "--train::handlr::log", "3"],
                  ["predict", "a", "--flops"], ["report"], ["table", "--only", "acdc method=magic"]):  # fmt: skip
        with pytest.raises((AssertionError, KeyError, ValueError)):
            check_command(["semicycle", *wrong], understood)
    page = tmp_path / "page.md"
    text = "One `two` three. See [a](b.md#c) et al. (2019).\n\n- LONG\n\n```\nmake x  # y\n```\n"
    page.write_text(text.replace("LONG", "word " * 31))
    assert [documents.words(sentence) for sentence in documents.sentences(page)] == [3, 5, 31]
    assert documents.links(page) == ["b.md#c"] and documents.commands(page) == [["make", "x"]]


def test_the_version_is_one():
    metadata = json.loads((CONFIGS / "metadata.json").read_text(encoding="utf-8"))
    assert {metadata["version"], metadata["required_packages_version"]["acdc_semicycle"]} == {__version__}
    assert __version__ in metadata["changelog"]
    assert re.search(r"^## (\S+)", documents.text_of(ROOT / "CHANGELOG.md"), re.MULTILINE)[1] == __version__


SHOWN = {name: text for page in PAGES for name, text in documents.overlays(page).items() if page != CONTRIBUTING}


@pytest.mark.parametrize("name", SHOWN)
def test_an_overlay_that_is_shown_trains(name, tmp_path, phantom_dir):
    (tmp_path / name).write_text(SHOWN[name])
    settings = TINY | {"dataset_dir": str(phantom_dir), "output_dir": str(tmp_path / "run"), "steps_per_epoch": 1}
    flow = workflow(tmp_path / name, **settings)
    flow.initialize()
    flow.run()
    assert (tmp_path / "run" / "models" / "model.pt").is_file()


def test_every_folder_of_the_package_has_its_page():
    folders = {path.parent.name for path in (ROOT / "acdc_semicycle").glob("*/__init__.py")}
    pages = {path.stem: documents.text_of(path) for path in (ROOT / "docs/python").glob("*.md")}
    assert pages.keys() - {"index"} == folders
    for folder in folders:
        assert pages[folder] == f"::: acdc_semicycle.{folder}\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site, built strictly and without a network."""
    for package in ("mkdocs", "material", "mkdocstrings_handlers.python"):
        pytest.importorskip(package, reason=f"{package} is not installed: run pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "NO_MKDOCS_2_WARNING", "1")
        words = ["build", "--strict", "-f", str(ROOT / "mkdocs.yml"), "-d", str(folder)]
        done = offline(folder, "mkdocs", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_the_site_has_every_page_and_fetches_nothing(site):
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix(".html").as_posix()
        html = (site / name.replace("README", "index")).read_text(encoding="utf-8")
        fetched = re.findall(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"([^\"]+)", html)
        fetched += [tag for tag in re.findall(r"<link\b[^>]*>", html) if "stylesheet" in tag or "preconnect" in tag]
        assert fetched and not [address for address in fetched if "//" in address], name
    assert not list(site.rglob("*.py"))


@pytest.mark.slow
def test_the_site_shows_docstrings_and_the_guide_for_contributors(site):
    for name in ("methods", "imageio", "training"):
        assert f"acdc_semicycle.{name}" in (site / "python" / f"{name}.html").read_text(encoding="utf-8")
    methods = (site / "python" / "methods.html").read_text(encoding="utf-8")
    assert "Two generators, two discriminators" in methods and ":class:" not in methods and "_trusted" not in methods
    assert "A new method" in (site / "contributing.html").read_text(encoding="utf-8")
