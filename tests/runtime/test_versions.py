"""Versions with known holes are named; all others are let pass."""

import configparser
import json
import sys
from pathlib import Path

import pytest

from acdc_semicycle.config import startup
from acdc_semicycle.runtime import versions

ROOT = Path(__file__).parents[2]


@pytest.fixture
def installed(monkeypatch):
    def of(**found: str) -> None:
        known = {"monai": "1.6.1", "torch": "2.13.0+cpu"} | found
        monkeypatch.setattr(versions, "versions", lambda *names: {name: known[name] for name in names})

    return of


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"torch": "2.10.0"},
        {"torch": "2.10"},
        {"torch": "2.10.0a0+b4e4ee81d3.nv25.12"},
        {"torch": "3.0.0.dev20270101+cu140"},
        {"monai": "1.10.0"},
        {"monai": "1.6.1+3.g1a2b3c"},
        {"monai": "unknown"},
        {"torch": "our-own"},
    ],
)
def test_what_is_new_enough_or_cannot_be_told_is_let_pass(installed, caplog, found):
    installed(**found)
    versions.warn_below_floors()
    assert not caplog.records


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"torch": "2.9.1+cu128"}, ["torch 2.9.1+cu128 (from 2.10 on)"]),
        ({"torch": "2.6"}, ["torch 2.6"]),
        ({"monai": "1.6.0"}, ["monai 1.6.0 (from 1.6.1 on)"]),
        ({"monai": "1.5.2", "torch": "1.13.1"}, ["monai 1.5.2", "torch 1.13.1"]),
    ],
)
def test_what_is_older_is_named_in_one_line(installed, caplog, found, words):
    installed(**found)
    versions.warn_below_floors()
    (record,) = caplog.records
    assert record.levelname == "WARNING" and all(word in record.getMessage() for word in words)


def test_a_run_starts_with_the_warning(installed, caplog, monkeypatch):
    installed(torch="2.9.1")
    monkeypatch.setattr(sys, "excepthook", None)
    startup.begin()
    assert "torch 2.9.1" in caplog.text
    caplog.clear()
    monkeypatch.setenv("RANK", "1")
    startup.begin()
    assert not caplog.text


def test_the_floors_are_those_of_the_requirements_and_of_the_installation_page():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    required = setup["options"]["install_requires"]
    page = " ".join((ROOT / "docs" / "install.md").read_text(encoding="utf-8").split())
    for package, floor in versions.FLOORS.items():
        (line,) = (line for line in required.splitlines() if line.startswith(package))
        assert f">={floor}" in line
        assert f"{package} {floor}" in page.replace("MONAI", "monai")
    metadata = json.loads((ROOT / "bundles/semicycle/configs/metadata.json").read_text(encoding="utf-8"))
    for package, key in (("monai", "monai_version"), ("torch", "pytorch_version")):
        assert not versions._old(package, metadata[key])
