"""The table of few annotated patients and its picture, from finished runs."""

import csv
import json

import numpy as np
import pytest
from scipy.stats import wilcoxon

from acdc_semicycle.experiments import command, few_picture, few_table
from acdc_semicycle.experiments.few_rows import minutes, table_rows
from acdc_semicycle.experiments.few_runs import finished_runs
from acdc_semicycle.experiments.published import PUBLISHED


def finish(out, patients, method, seed, scores, hd95=None, note=None):
    """A finished run made by hand; the scores of its patients, who have one volume each; its folder."""
    folder = out / f"acdc/patients_{patients}/{method}/seed_{seed}"
    (folder / "validation").mkdir(parents=True)
    mean = sum(scores) / len(scores)
    cases = []
    for number, score in enumerate(scores):
        cases.append({"case": f"c{number}", "patient": f"p{number}", "dice": {"mean": score}})
    report = {
        "part": "validation",
        "note": note,
        "classes": ["background", "RV", "LV"],
        "summary": {"dice": {"mean": mean, "RV": mean - 0.1, "LV": mean + 0.1}},
        "cases": cases,
        "machine": {"cores": 2, "threads": 1},
    }
    (folder / "validation" / "report.json").write_text(json.dumps(report))
    if hd95 is not None:
        (folder / "label_maps").mkdir()
        summary = {"dice": {"mean": mean + 0.01}, "hd95": {"mean": hd95}, "unit": "voxels"}
        content = {"summary": {"label_maps": summary}, "structures": ["RV", "LV"]}
        (folder / "label_maps" / "evaluation.json").write_text(json.dumps(content))
    record = {"report": "validation/report.json", "command": f"the command of {method} {seed}", "settings": []}
    (folder / "finished.json").write_text(json.dumps(record))
    return folder


def rows_of(out):
    return {(row["patients"], row["method"]): row for row in table_rows(finished_runs(out))}


def test_a_row_is_the_mean_and_deviation_over_seeds_by_structure(tmp_path):
    finish(tmp_path, 3, "few", 0, [0.6, 0.8], hd95=4.0)
    finish(tmp_path, 3, "few", 1, [0.8, 1.0], hd95=6.0)
    text = few_table.write(tmp_path, finished_runs(tmp_path))
    line = (
        "| 3 | few | 2 | 0.800 ± 0.141 | 0.700 ± 0.141 | 0.900 ± 0.141 | 0.810 ± 0.141 | 5.0 ± 1.4 voxels | - | - | - |"
    )
    assert line in text
    assert "Scored on 2 volumes of validation patients." in text and "Machine: 2 cores, 1 thread a run." in text


def test_rows_go_from_few_patients_to_many_and_a_missing_score_is_a_dash(tmp_path):
    for patients, method in ((14, "few"), (3, "few"), (3, "partial"), (7, "bcp")):
        finish(tmp_path, patients, method, 0, [0.5])
    assert list(rows_of(tmp_path)) == [(3, "partial"), (3, "few"), (7, "bcp"), (14, "few")]
    text = few_table.write(tmp_path, finished_runs(tmp_path))
    assert "| 7 | bcp | 1 | 0.500 | 0.400 | 0.600 | - | - | - | - | - |" in text


def test_the_gain_of_few_is_paired_by_patient_over_the_seeds_of_both(tmp_path):
    own, others = np.linspace(0.6, 0.8, 10), np.linspace(0.5, 0.8, 10)
    for seed in (0, 1):
        finish(tmp_path, 7, "few", seed, list(own + 0.02 * seed))
        finish(tmp_path, 7, "partial", seed, list(others))
    finish(tmp_path, 7, "partial", 5, [0.1] * 10)
    row = rows_of(tmp_path)[7, "partial"]
    assert row["gain"] == pytest.approx(own.mean() + 0.01 - others.mean())
    assert row["p"] == pytest.approx(wilcoxon(own + 0.01, others).pvalue) and row["n"] == 10
    assert "gain" not in rows_of(tmp_path)[7, "few"]
    text = few_table.write(tmp_path, finished_runs(tmp_path))
    assert f"| {row['gain']:+.3f} | p = {row['p']:.3f}, n = 10 |" in text


def test_minutes_are_those_of_all_sessions_of_a_training(tmp_path):
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    folder = finish(tmp_path, 3, "few", 0, [0.5])
    (run,) = finished_runs(tmp_path)
    assert minutes(run) is None
    for start in (1000.0, 90000.0):  # a day lies between the two
        writer = EventFileWriter(str(folder / "tensorboard"), filename_suffix=str(start))
        for seconds in (0, 60, 90):
            writer.add_event(Event(wall_time=start + seconds, step=1))
        writer.close()
    for path in (folder / "tensorboard").glob("*"):
        path.write_bytes(without_version(path.read_bytes()))
    assert minutes(run) == pytest.approx(3.0)


def without_version(content):
    """The records of an event file after its first, which has the time of now."""
    length = int.from_bytes(content[:8], "little")
    return content[8 + 4 + length + 4 :]


def test_the_files_hold_the_rows_remarks_and_commands(tmp_path):
    finish(tmp_path, 3, "few", 0, [0.5], note="none was chosen on these")
    few_table.write(tmp_path, finished_runs(tmp_path))
    text = (tmp_path / "few.md").read_text()
    assert text.count("none was chosen on these") == 1 and "the command of few 0\n" in text
    content = json.loads((tmp_path / "few.json").read_text())
    with (tmp_path / "few.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row["dice"] == str(content["rows"][0]["dice"]) == "0.5" and row["seeds"] == "0"
    assert "none was chosen on these" in content["remarks"]


def test_report_writes_this_table_where_only_its_runs_are(tmp_path, capsys):
    finish(tmp_path, 3, "few", 0, [0.5])
    assert command.main(["--report", str(tmp_path)]) == 0
    assert "| 3 | few | 1 |" in capsys.readouterr().out
    assert not (tmp_path / "table.md").exists()


@pytest.mark.parametrize("name", ["validation/report.json", "finished.json", "label_maps/evaluation.json"])
@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_damaged_file_of_a_run_is_named(tmp_path, capsys, name, text):
    folder = finish(tmp_path, 3, "few", 0, [0.5], hd95=3.0)
    (folder / name).write_text(text)
    assert command.main(["--report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {folder / name} is damaged (") and error.count("\n") == 1, error


def test_the_published_figures_are_fractions_and_ranges_rise():
    assert all(0 < figure.low <= figure.high < 1 and figure.patients in (1, 3, 7, 14, 70) for figure in PUBLISHED)
    assert [figure.low for figure in PUBLISHED if (figure.method, figure.patients) == ("AD-MT", 3)] == [0.8885]


def texts(axis):
    return [text.get_text() for text in axis.texts]


def test_the_picture_has_a_line_a_method_and_published_figures_of_the_same_patients(tmp_path):
    for patients in (3, 14):
        for method in ("few", "partial"):
            for seed in (0, 1):
                finish(tmp_path, patients, method, seed, [0.7 + 0.1 * seed])
    figure = few_picture.picture(finished_runs(tmp_path))
    (axis,) = figure.axes
    lines = {line.get_label(): line.get_ydata() for line in axis.lines if not line.get_label().startswith("_")}
    assert {name: list(y) for name, y in lines.items()} == {"few": [0.75, 0.75], "partial": [0.75, 0.75]}
    assert [label.get_text() for label in axis.get_xticklabels()] == ["3", "14"]
    assert texts(axis).count("BCP") == 2 and texts(axis).count("FixMatch") == 1  # of 3, none of 14
    assert axis.get_ylim()[0] < 0.48


def test_the_names_of_published_figures_do_not_overlap(tmp_path):
    finish(tmp_path, 3, "few", 0, [0.8])
    (axis,) = few_picture.picture(finished_runs(tmp_path)).axes
    low, high = few_picture._to_axis(np.array(axis.get_ylim()))
    names = {figure.method for figure in PUBLISHED}
    heights = sorted(few_picture._to_axis(np.array([t.get_position()[1] for t in axis.texts if t.get_text() in names])))
    assert len(heights) == 9 and min(np.diff(heights)) > 0.9 * few_picture.GAP * (high - low) and heights[-1] < high


def test_learning_curves_are_drawn_where_trainings_were_validated_more_than_once(tmp_path):
    for seed, dice in ((0, 0.4), (1, 0.6)):
        folder = finish(tmp_path, 3, "few", seed, [0.7])
        rows = f"1,1,{dice}\n2,1,\n3,1,{dice + 0.1}\n" + ("4,1,0.9\n" if seed else "")
        (folder / "learning_curve.csv").write_text("epoch,gen_S,dice\n" + rows)
    once = finish(tmp_path, 7, "few", 0, [0.7])
    (once / "learning_curve.csv").write_text("epoch,gen_S,dice\n1,1,\n2,1,0.5\n")
    runs = finished_runs(tmp_path)
    figure = few_picture.picture(runs)
    assert len(figure.axes) == 2
    (line,) = figure.axes[1].lines
    assert list(line.get_xdata()) == [1, 3] and list(line.get_ydata()) == pytest.approx([0.5, 0.6])
    few_picture.draw(tmp_path / "few.png", runs)
    assert (tmp_path / "few.png").stat().st_size > 10_000
