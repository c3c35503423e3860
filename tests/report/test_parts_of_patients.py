"""The page marks the patients whom the network knows, and its headline is of the others."""

import json

from report_folder import cards, rows, words

from acdc_semicycle.evaluation import summaries
from acdc_semicycle.report import plots


def marked(run, *parts: str) -> str:
    """The page of three patients in these parts, two cases each, as evaluate would summarise them."""
    part_of = dict(zip(sorted({entry["patient"] for entry in run.evaluation["cases"]}), parts, strict=True))
    for content in (run.predictions, run.evaluation):
        for entry in [*content["cases"], *content["patients"]]:
            entry["part"] = part_of[entry["patient"]]
    entries = run.evaluation["cases"]
    seen = summaries.headline.seen_cases(entries)
    run.evaluation["summary"] = {run.out.name: summaries.summary(entries, ["RV", "MYO", "LV"], seen)}
    return run.write()


def test_the_headline_is_of_new_patients_and_every_case_has_its_part(run):
    page = marked(run, "labelled", "validation", "test")
    text = words(page)
    entries = run.evaluation["cases"]
    dice = sum(entry["dice"]["mean"] for entry in entries if entry["part"] == "test") / 2
    assert f"mean Dice, test patients {dice:.3f}" in text and 'class="banner"' not in page
    assert {row["case"]: row["part"] for row in rows(run.out)} == {entry["case"]: entry["part"] for entry in entries}
    assert [card.count("labelled") for card in cards(page)].count(1) == 2
    table = words(page.split('id="scores"')[1].split("</table>")[0])
    assert "Phase, part" in table and "Dice test 2" in table and "labelled 2" in table and "all" not in table
    assert '<th scope="col" data-kind="text"><button type="button">Part</button></th>' in page.split('id="patients"')[1]
    quality = [entry["quality"] for entry in run.predictions["cases"] if entry["part"] == "test"]
    assert f"mean expected Dice {sum(quality) / 2:.3f}" in text


def test_a_red_line_tells_that_no_patient_is_new(run):
    page = marked(run, "labelled", "labelled", "validation")
    banner = page.split('<p class="banner" role="alert">')[1].split("</p>")[0]
    assert banner.startswith("No patient is new to the network: of 6 cases 4 labelled (trained on with masks), 2 valid")
    assert 'labelled and validation patients</dt><dd class="alert">' in page
    assert json.loads((run.out / "report.json").read_text())["warnings"] == [banner[:1].lower() + banner[1:-1]]


def test_predictions_alone_are_marked_too(run):
    for entry in run.predictions["cases"]:
        entry["part"] = "labelled"
    page = run.write(evaluation=False)
    assert 'class="banner"' in page and {row["part"] for row in rows(run.out)} == {"labelled"}


def test_the_page_names_the_post_processing(run):
    words_of = "the network's label maps with largest component of each structure (largest), holes filled (holes)"
    assert f"Label maps predict: {words_of}" in words(run.write())
    run.evaluation["postprocessing"] = {"ours": words_of}
    assert f"Label maps ours: {words_of}" in words(run.write())
    assert json.loads((run.out / "report.json").read_text())["postprocessing"] == {"ours": words_of}


def test_plots_of_indices_are_of_new_patients(plotted, monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "_plot", lambda draw, pairs, *more: shown.append(len(pairs)))
    for entry, part in zip(plotted.evaluation["patients"], ("labelled", "test", "new"), strict=True):
        entry["part"] = part
    plots.figures(plotted.evaluation)
    assert set(shown) == {2}
