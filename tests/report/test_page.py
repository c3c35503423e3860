"""The report: what the page says, and what it refuses."""

import copy
import html
import json
import re
from collections import Counter

import numpy as np
import pytest
from report_folder import MADE, NASTY, SCRIPT, Run, cards, names, preview, rows, words

from acdc_semicycle.evaluation import compare, evaluation_files
from acdc_semicycle.imageio import volumes
from acdc_semicycle.report import page as report_page
from acdc_semicycle.runtime.errors import InputError


def test_a_folder_of_neither_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"neither predictions\.json nor evaluation\.json: give a folder"):
        report_page.write(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "[" * 100_000, '{"cases": null}', '{"cases": [{"name": 1}]}', '{"cases": [3]}']
)
def test_a_damaged_file_is_named(tmp_path, text):
    (tmp_path / "evaluation.json").write_text(text)
    with pytest.raises(InputError, match=r"evaluation\.json is damaged .*run semicycle evaluate again"):
        report_page.write(tmp_path)


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("predictions", "patients", [None]),
        ("predictions", "colours", [None]),
        ("predictions", "colours", [[None, 0, 0]]),
        ("predictions", "classes", 4),
        ("predictions", "failures", 1),
        ("predictions", "quality", {"threshold": {}}),
        ("evaluation", "patients", [None]),
        ("evaluation", "patients", [{"patient": "a", "truth": {"lv_ef_percent": {}}, "prediction": 3}]),
        ("evaluation", "summary", [1]),
        ("evaluation", "agreement_cases", 1),
        ("evaluation", "notes", 1),
    ],
)
def test_a_value_of_another_kind_ends_in_one_line_and_writes_nothing(run, file, key, value):
    getattr(run, file)[key] = value
    with pytest.raises(InputError, match=r"^\S*predictions\.json or \S*evaluation\.json is damaged .*again$"):
        run.write()
    assert not [*run.out.glob("report.*"), *run.out.glob("figures")]


@pytest.mark.parametrize("name", ["report.html", "report.json", "report.csv"])
def test_a_users_file_is_not_overwritten(run, name):
    run.write()
    users_file = run.out / name
    users_file.write_text('{"cases": "mine"}')
    before = {path: path.read_bytes() for path in run.out.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=f"{name} is there and is not of this program"):
        run.write()
    assert {path: path.read_bytes() for path in run.out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("into", ["elsewhere", "first"])
def test_two_tools_without_a_truth_are_one_against_the_other(tmp_path, into):
    """Also in the folder of the first one's predictions, whose own pictures are no pictures of the second."""
    for tool, cases in (("first", {"a": 9, "b": 9}), ("second", {"a": 9, "b": 5})):
        (tmp_path / tool).mkdir()
        for case, end in cases.items():
            labels = np.zeros((16, 16, 4), np.uint8)
            labels[3:end, 3:9, 1:3] = 1
            affine = np.diag([1.5, 1.5, 8, 1])
            volumes.save(tmp_path / tool / f"{case}_seg.nii.gz", labels, volumes.Volume(labels[..., None], affine))
    entries = [{"case": case, "mask": f"{case}_seg.nii.gz", "quality": 0.123} for case in "ab"]
    sheet = {"cases": entries, "classes": ["background", "LV"], "failures": [], "model": {}} | MADE
    (tmp_path / "first" / "predictions.json").write_text(json.dumps(sheet))
    content = compare.compare([tmp_path / "first", tmp_path / "second"], None, ["background", "LV"])
    evaluation_files.write(content, tmp_path / into)
    page = html.unescape(report_page.write(tmp_path / into).read_text())
    assert names(page) == ["b", "a"] and [row["dice_mean"] for row in rows(tmp_path / into)] == ["0.5", "1.0"]
    assert "mean Dice of second against first</dt><dd>0.750" in page and "<dt>cases</dt><dd>2" in page
    assert (
        preview(page).count('<g class="truth">') == 4
        and "first, ml</th>" in page
        and "true ml" not in page
        and "0.123" not in page
    )
    volumes.save(tmp_path / "second" / "b_seg.nii.gz", labels * 0, volumes.Volume(labels[..., None], affine))
    with pytest.raises(InputError, match="has changed since it was evaluated"):
        report_page.write(tmp_path / into)


def test_a_page_of_nulls_is_a_page(run):
    for entry in run.predictions["cases"]:
        for key in set(entry) - {"case"}:
            entry[key] = None
    for entry in run.evaluation["cases"]:
        for key in set(entry) - {"case", "tool"}:
            entry[key] = None
    for entry in [*run.predictions["patients"], *run.evaluation["patients"]]:
        for key in set(entry) - {"patient", "tool"}:
            entry[key] = None
    for content in (run.predictions, run.evaluation):
        for key in set(content) - {"cases", "tools", "classes", "patients"}:
            content[key] = None
    page = run.write()
    assert len(cards(page)) == 6
    assert "None" not in words(page), words(page)[words(page).index("None") - 80 :][:160]


def with_names(run: Run, nasty: str) -> str:
    """The page with this text wherever a name or a reason may stand."""
    for content in (run.predictions, run.evaluation):
        content["cases"][0] |= {"case": nasty, "patient": nasty, "phase": nasty}
        content["failures"] = [{"scan": nasty, "case": nasty, "reason": nasty}]
        content["command"] = nasty
    run.evaluation["missing"] = [{"case": nasty, "reason": nasty}]
    run.evaluation["notes"] = [nasty]
    run.predictions["patients"][0]["patient"] = nasty
    run.predictions |= {"settings": {nasty: nasty}, "model": {nasty: nasty, "path": nasty}}
    run.predictions["cases"][1] |= {"withheld": nasty, "frame_scores": [{nasty: 0.5}]}
    return run.write(title=nasty)


def test_names_are_text_wherever_they_stand(run):
    nasty = NASTY + SCRIPT + '\' onmouseover="alert(1)"{{ 7 * 7 }}'
    again = copy.deepcopy(run)
    page, tame = with_names(run, nasty), with_names(again, "tame")
    tags = [Counter(re.findall(r"<(\w+)", text)) for text in (page, tame)]
    assert tags[0] == tags[1] and tags[0]["script"] == 1
    assert not re.search(r"<[^>]*\sonmouseover=", re.sub('"[^"]*"', "", page))
    assert html.unescape(page).count(nasty) == tame.count("tame") > 15


def test_a_name_that_is_no_unicode_is_shown_as_far_as_it_is(run):
    for content in (run.predictions, run.evaluation):
        content["cases"][0]["case"] = "caf\udce9"
    assert "caf?" in names(run.write())
    assert "caf?" in [row["case"] for row in rows(run.out)]


def test_the_page_needs_nothing_but_itself(run):
    page = run.write()
    assert "://" not in page
    sources = re.findall(r"""(?:src|href|srcset|data)\s*=\s*["']([^"']{,30})""", page)
    assert len(sources) > 60
    pictures = ("data:image/png;base64,", "data:image/webp;base64,")
    assert all(source.startswith(("#", *pictures)) for source in sources)
    assert not re.search(r"@import|url\(|<link|<iframe|<object|fetch\(|XMLHttpRequest", page)
    targets = set(re.findall('href="#([^"]+)"', page))
    assert targets <= set(re.findall('id="([^"]+)"', page)) and len(targets) == 12


def test_predictions_alone_make_a_page_without_scores(run):
    page = run.write(evaluation=False)
    assert 'id="scores"' not in page and '<g class="truth">' not in page
    assert "Spearman 0.71 on 20 patients." in page
    assert "dice_mean" not in rows(run.out)[0]
    assert not (run.out / "figures").exists()
    assert json.loads((run.out / "report.json").read_text())["missing"] == []


def test_failures_and_missing_cases_are_listed_with_their_reasons(run):
    run.predictions["failures"] = [{"scan": "scans/broken.nii.gz", "reason": "is truncated: copy it again"}]
    run.evaluation["failures"] = [{"case": "odd", "reason": "another shape"}]
    run.evaluation["missing"] = [{"case": "lost", "reason": "a truth without a prediction"}]
    text = words(run.write())
    assert "scans/broken.nii.gz is truncated: copy it again" in text
    assert "odd another shape" in text and "lost a truth without a prediction" in text
    assert "failures 2" in text and "1 truth or prediction without a counterpart" in text


def test_many_truths_that_were_not_predicted_are_one_line(run):
    """As after a prediction of the test part alone."""
    missing = [{"tool": "t", "case": f"p{n}", "reason": f"truth/p{n}.nii has no prediction"} for n in range(64)]
    run.evaluation["missing"] = [*missing, {"tool": "t", "case": "stray", "reason": "out/stray.nii has no truth"}]
    text = words(run.write())
    assert "64 truths have no prediction, e.g. p0, as after" in text and "p63" not in text
    assert "1 truth or prediction without a counterpart" in text and "stray out/stray.nii has no truth" in text
    assert len(json.loads((run.out / "report.json").read_text())["missing"]) == 65
    run.evaluation["missing"] = missing[:10]
    text = words(run.write())
    assert "truths have no prediction" not in text and "p9 truth/p9.nii has no prediction" in text
    run.evaluation["missing"] = missing
    assert "without a counterpart" not in words(run.write())


def test_a_run_of_failures_only_is_reported(tmp_path):
    content = {"cases": [], "failures": [{"scan": "a.nii", "reason": "is empty"}], "classes": ["background", "LV"]}
    (tmp_path / "predictions.json").write_text(json.dumps(content))
    text = words(report_page.write(tmp_path).read_text())
    assert "cases 0" in text and "a.nii is empty" in text


def test_the_foot_says_how_it_was_made(run):
    foot = words(run.write().split("<footer>")[1])
    for part in ("semicycle predict scans -o OUT", "acdc_semicycle 0.1.0", "cores 2", "largest True", "5d1c5d1c",
                 "Dice 0 and the volume's diagonal as its distance", "soft_dice: Dice of the segmentation",
                 "Research only, not for clinical use"):  # fmt: skip
        assert part in foot
