"""What a run's folder tells of it: where runs are, their settings, scores and minutes."""

import json

import pytest
from run_folders import CARD, case_row, write_events, write_report, write_run

from acdc_semicycle.experiments.run_curves import mean_curve, read_curve
from acdc_semicycle.experiments.run_record import read_run
from acdc_semicycle.experiments.run_search import runs_of, unique_names
from acdc_semicycle.experiments.run_settings import differences
from acdc_semicycle.experiments.run_times import minutes_without_pauses
from acdc_semicycle.runtime.errors import InputError

SCORES = {"a": 0.5, "b": 0.7}


def write_folds(folder, count=2, finished=True):
    for number in range(count):
        run = write_run(folder / f"fold_{number}", SCORES)
        (run / "learning_curve.csv").write_text(f"epoch,gen_S\n1,{number}\n2,{number + 1}\n" + "3,1\n" * number)
        write_events(run, 0, {1: 60})
    if finished:
        cases = [case_row("a", 0.4) | {"fold": 0}, case_row("b", 0.6) | {"fold": 1}]
        content = {"main": "dice", "classes": CARD["classes"], "cases": cases, "folds": count, "method": "Supervised"}
        (folder / "folds.json").write_text(json.dumps(content))
    return folder


def record(folder):
    return read_run(folder, folder.name)


def test_a_run_is_named_by_its_folder_its_models_or_its_network(tmp_path):
    run = write_run(tmp_path / "a")
    for path in (run, run / "models", run / "models" / "model.pt"):
        assert runs_of([path]) == [run]
    assert runs_of([run, run / "models"]) == [run]


def test_a_folder_of_runs_gives_all_below_it_and_folds_as_one_run(tmp_path):
    deep = write_run(tmp_path / "deep" / "er" / "b")
    folds = write_folds(tmp_path / "few-folds")
    begun = write_folds(tmp_path / "begun", finished=False)
    assert runs_of([tmp_path]) == [begun, deep, folds]
    assert runs_of([folds, tmp_path]) == [folds, begun, deep]


def test_what_holds_no_run_is_refused(tmp_path):
    write_run(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty holds no run of semicycle train: give a run's folder"):
        runs_of([tmp_path / "a", tmp_path / "empty"])
    with pytest.raises(InputError, match="none is not there: give a run's folder"):
        runs_of([tmp_path / "none"])


def test_runs_of_one_name_are_told_apart_by_the_folders_above_them(tmp_path):
    folders = [tmp_path / "x" / "seed_0", tmp_path / "y" / "seed_0", tmp_path / "y" / "seed_1"]
    assert unique_names(folders) == ["x/seed_0", "y/seed_0", "seed_1"]


def test_a_record_tells_patients_length_and_scores(tmp_path):
    run = record(write_run(tmp_path / "a", SCORES))
    assert (run.dataset, run.method, run.classes) == ("hearts", "Supervised", ["background", "RV", "LV"])
    assert (run.patients("labelled"), run.patients("unlabelled")) == (2, 1)
    assert (run.epochs, run.planned_epochs, run.steps, run.minutes) == (3, 3, 30, None)
    scores = run.scores["validation"]
    assert scores.part == "held out" and scores.patients["b"]["dice"]["RV"] == pytest.approx(0.6)
    assert run.faults == []


def test_the_record_of_folds_has_the_scores_of_all_patients_left_out_and_all_minutes(tmp_path):
    run = record(write_folds(tmp_path / "folds"))
    assert (run.folds, run.epochs, run.minutes) == (2, 2, 2.0)
    assert list(run.scores) == ["folds"] and sorted(run.scores["folds"].patients) == ["a", "b"]
    assert run.curve.values("gen_S") == {1: 0.5, 2: 1.5}
    unfinished = record(write_folds(tmp_path / "begun", finished=False))
    assert (unfinished.folds, unfinished.scores) == (2, {})


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"cases": []}', '{"classes": ["a", "b"], "cases": []}', '{"classes": ["a", "b"], "cases": [{}]}'],
)
def test_a_damaged_report_is_a_fault_and_the_rest_is_known(tmp_path, text):
    folder = write_run(tmp_path / "a", SCORES)
    (folder / "validation" / "report.json").write_text(text)
    run = record(folder)
    (fault,) = run.faults
    assert "report.json is damaged (" in fault and fault.endswith("or run the command that wrote it again")
    assert run.scores == {} and run.dataset == "hearts" and run.epochs == 3


def test_damaged_configurations_and_cards_are_faults(tmp_path):
    folder = write_run(tmp_path / "a", SCORES)
    (folder / "config.yaml").write_text("a: [")
    (folder / "models" / "model.json").write_text("\x00")
    (folder / "split.json").write_text("[]")
    (folder / "learning_curve.csv").write_bytes(b"epoch,gen_S\n\xff,1\n2\n3,x\n")
    run = record(folder)
    assert len(run.faults) == 3 and run.dataset == "hearts" and run.epochs == 3 and run.curve.columns == {}
    assert len(run.scores) == 1


@pytest.mark.parametrize(
    ("note", "part"),
    [("the epoch was chosen on these", "validation"), ("these had no part in training or in ...", "held out")],
)
def test_of_a_report_of_before_0_2_the_note_tells_whether_the_epoch_was_chosen(tmp_path, note, part):
    folder = write_run(tmp_path / "a")
    write_report(folder, SCORES, of_cases=None, note=note)
    scores = record(folder).scores["validation"]
    assert scores.part == part and scores.chose_the_epoch == (part == "validation")


def test_a_curve_of_folds_is_their_mean_where_all_have_one(tmp_path):
    curves = []
    for number, rows in enumerate(("1,1,\n2,2,0.5\n", "1,3,\n2,4,0.7\n3,9,\n")):
        path = tmp_path / f"{number}.csv"
        path.write_text("epoch,gen_S,dice\n" + rows)
        curves.append(read_curve(path))
    mean = mean_curve(curves)
    assert mean.last == 2 and mean.columns == {"gen_S": {1: 2.0, 2: 3.0}, "dice": {2: pytest.approx(0.6)}}


def of(*folders):
    return {setting.key: setting.values for setting in differences([record(folder) for folder in folders])}


def test_settings_that_differ_are_shown_once_where_they_are_set(tmp_path):
    a = write_run(tmp_path / "a")
    b = write_run(tmp_path / "b", config={"learning_rate": 0.01, "extra": {"size": [1, 2], "on": True}})
    assert of(a, b) == {"learning_rate": ["0.001", "0.01"], "extra": ["–", "(size=[1, 2], on=true)"]}
    assert of(a) == of(a, a) == {}


def test_paths_patients_length_and_machine_are_no_settings(tmp_path):
    a = write_run(tmp_path / "a", config={"train": {"dataset": {"cache_dir": "x", "seed": 1}}})
    changes = {"output_dir": "b", "labelled": 9, "epochs": 9, "device": "cuda", "notes": {"test": "x"}, "minutes": 3}
    b = write_run(tmp_path / "b", config=changes | {"train": {"dataset": {"cache_dir": "y", "seed": 1}}})
    assert of(a, b) == {}


def test_a_reference_is_the_value_that_it_leads_to_and_no_expression_is_run(tmp_path):
    a = write_run(tmp_path / "a", config={"batch": 4, "other": "@batch", "code": "$print(1)"})
    b = write_run(tmp_path / "b", config={"batch": 4, "other": 4, "code": "$exit(1)"})
    assert of(a, b) == {"code": ["$print(1)", "$exit(1)"]}
    presets = {"presets": {"paper": {"gen_S": 1.0}, "demonstration": {"gen_S": 10.0}}}
    c = write_run(tmp_path / "c", config=presets | {"demo": True, "weights": {"gen_S": "$@preset['gen_S']"}})
    d = write_run(tmp_path / "d", config=presets | {"demo": False, "weights": {"gen_S": 1.0}})
    e = write_run(tmp_path / "e", config={"loop": "@pool", "pool": "@loop"})
    f = write_run(tmp_path / "f", config={"loop": 1, "pool": "@loop"})
    assert of(c, d) == {"weights::gen_S": ["10.0", "1.0"]}
    assert of(e, f) == {"loop": ["@pool", "1"]}


def test_another_class_is_one_setting_with_its_arguments(tmp_path):
    a = write_run(tmp_path / "a", config={"augment": {"_target_": "x.Windows", "turns": 0.5}})
    b = write_run(tmp_path / "b", config={"augment": {"_target_": "x.Augment"}})
    c = write_run(tmp_path / "c", config={"augment": {"_target_": "x.Windows", "turns": 0.2}})
    assert of(a, b) == {"augment": ["Windows(turns=0.5)", "Augment()"]}
    assert of(a, c) == {"augment::turns": ["0.5", "0.2"]}


def test_a_run_without_configuration_counts_with_what_its_reports_tell(tmp_path):
    network = {"class": "N", "arguments": {"filters": 4}}
    a = write_run(tmp_path / "a", SCORES, {"keep": "best", "weights": {"gen_S": 2.0}}, network=network)
    b = write_run(tmp_path / "b", SCORES, network={"class": "N", "arguments": {"filters": 8}})
    (b / "config.yaml").unlink()
    assert of(a, b) == {
        "keep": ["best", "last"],
        "weights::gen_S": ["2.0", "1.0"],
        "network_def::filters": ["4", "8"],
    } | {"classes": ["–", '["background", "RV", "LV"]']}


def test_minutes_are_those_of_all_sessions_without_the_time_between_them(tmp_path):
    assert minutes_without_pauses(tmp_path) is None
    write_events(tmp_path, 1000, {1: 60, 2: 120})
    write_events(tmp_path, 90000, {3: 60, 4: 150})
    assert minutes_without_pauses(tmp_path) == pytest.approx((120 + 150) / 60)


def test_a_pause_within_a_session_counts_as_a_median_epoch(tmp_path):
    write_events(tmp_path, 1000, {1: 60, 2: 120, 3: 180, 4: 9000, 5: 9200})
    assert minutes_without_pauses(tmp_path) == pytest.approx((60 * 4 + 200) / 60)


def test_a_long_validation_is_no_pause(tmp_path):
    write_events(tmp_path, 0, {1: 10, 2: 20, 3: 500, 4: 510, 5: 520, 6: 1010}, validated=(3, 6))
    assert minutes_without_pauses(tmp_path) == pytest.approx(1010 / 60)


def test_a_damaged_event_file_counts_up_to_its_damage(tmp_path):
    write_events(tmp_path, 0, {1: 60, 2: 120})
    (path,) = (tmp_path / "tensorboard").glob("*")
    path.write_bytes(path.read_bytes()[:-7])
    assert minutes_without_pauses(tmp_path) == pytest.approx(1.0)
    path.write_bytes(b"\x00" * 50)
    assert minutes_without_pauses(tmp_path) is None
