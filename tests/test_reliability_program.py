"""The program that measures reliability: it runs, and what it measures of ours is complete."""

import json

import pytest
from processes import ROOT, run

pytestmark = [pytest.mark.slow, pytest.mark.whole]


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> dict[str, dict]:
    """What the short run says, by row."""
    out = tmp_path_factory.mktemp("reliability")
    done = run(ROOT / "benchmarks" / "reliability.py", "--short", "--out", out, OMP_NUM_THREADS="1")
    table = (out / "reliability.md").read_text()
    assert table.split("\n\n", 1)[1] in done.stdout
    return {row.pop("row"): row for row in json.loads((out / "reliability.json").read_text())["rows"]}


def test_every_case_ends_well_with_ours(rows):
    assert {name: row["ours"]["failures"] for name, row in rows.items() if row["ours"]["failures"]} == {}
    assert len(rows) == 23 and all(row["ours"]["of"] >= 8 for row in rows.values())


def test_no_reader_that_takes_everything_or_nothing_is_complete(rows):
    good, bad = (next(row["ours"]["of"] for name, row in rows.items() if name.startswith(f"- {word}"))
                 for word in ("odd", "bad"))  # fmt: skip
    assert good > 60 and bad > 60 and good + bad >= 140


def test_others_are_measured_alike_and_not_complete(rows):
    for name, row in rows.items():
        for tool, cell in row.items():
            assert cell["of"] in (row["ours"]["of"], 2 * row["ours"]["of"]), (name, tool)
    for tool in ("SimpleITK", "MONAI"):
        assert sum(len(row[tool]["failures"]) for row in rows.values() if tool in row) > 20
