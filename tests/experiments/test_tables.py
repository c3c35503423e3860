"""The tables and what stands below them, from finished runs."""

import itertools
import json

import numpy as np
import pytest
from scipy.stats import wilcoxon
from tabulating import finish, row

from acdc_semicycle.experiments import command, tables
from acdc_semicycle.experiments.paper import ABLATIONS, PAPER
from acdc_semicycle.experiments.results import finished_runs
from acdc_semicycle.experiments.rows import table_rows


def test_the_papers_numbers_are_the_papers():
    assert PAPER["full", "100"] == {"voc": 0.5543, "cityscapes": 0.5551, "acdc": 0.8982}
    assert PAPER["semicycle", "20"] == {"voc": 0.2981, "cityscapes": 0.4321, "acdc": 0.8688}
    for labels in ("50", "30", "20", "10"):  # theirs gains everywhere
        for dataset, number in PAPER["partial", labels].items():
            assert PAPER["semicycle", labels][dataset] > number
    assert {name: PAPER[name, "20"]["voc"] for name in ABLATIONS} == {
        "no_cycle_S": 0.2627,
        "no_cycle_I": 0.2733,
        "no_disc_S": 0.2614,
        "no_disc_I": 0.2543,
    }


def test_a_row_is_the_mean_and_deviation_over_seeds_beside_the_papers_number(tmp_path):
    for seed, dice in ((0, 0.5), (1, 0.7), (2, 0.9)):
        finish(tmp_path, "acdc", "20", "partial", seed, {"p": dice})
    text = tables.write(tmp_path)
    found = row(tmp_path, "partial", "20")
    assert found["dice"] == pytest.approx(0.7) and found["dice_std"] == pytest.approx(0.2)
    assert found["iou"] == pytest.approx(0.6) and found["paper_miou"] == pytest.approx(0.9)
    assert found["published"] == 0.8642 and found["seeds"] == [0, 1, 2]
    assert "| partial | 20 % | 3 | 0.7000 ± 0.2000 | 0.6000 ± 0.2000 | 0.9000 ± 0.2000 | 0.8642 | - | - |" in text
    assert "| hung | 20 % | - | - | - | - | 0.8063 | - | - |" in text


def test_one_seed_is_just_the_value_and_pictures_are_scored_by_miou(tmp_path):
    finish(tmp_path, "voc", "20", "partial", 0, {"a": 0.2, "b": 0.4})
    text = tables.write(tmp_path)
    assert "| method | labels | seeds | mIoU | paper's mIoU | paper | gain over partial |" in text
    assert "| partial | 20 % | 1 | 0.4000 | 0.5000 | 0.2688 | - | - |" in text


def test_the_rows_are_as_the_paper_orders_them_and_further_ones_follow(tmp_path):
    finish(tmp_path, "acdc", "3p", "partial", 0, {"p": 0.5})
    finish(tmp_path, "acdc", "15", "partial", 0, {"p": 0.5})
    rows = [(r["method"], r["labels"]) for r in table_rows(finished_runs(tmp_path))]
    of = {method: [labels for name, labels in rows if name == method] for method, _ in rows}
    assert list(of) == ["full", "hung", "partial", "semicycle"]
    assert of["partial"] == ["50", "30", "20", "15", "10", "3p"] and of["semicycle"] == ["50", "30", "20", "10"]
    assert "| partial | 3 patients | 1 | 0.5000 |" in tables.write(tmp_path)


OURS = {f"c{n}": 0.5 + 0.03 * n for n in range(10)}

THEIRS = {f"c{n}": 0.5 + 0.03 * n - 0.02 * (n % 4) + 0.013 for n in range(10)}


def test_the_gain_is_paired_by_case_over_the_seeds_of_both(tmp_path):
    shifted = {name: value + 0.1 for name, value in OURS.items()}
    for seed, cases in ((0, OURS), (1, shifted), (5, {"c0": 0.9})):
        finish(tmp_path, "acdc", "20", "semicycle", seed, cases)
    for seed in (0, 1, 7):
        finish(tmp_path, "acdc", "20", "partial", seed, THEIRS)
    text = tables.write(tmp_path)
    found = row(tmp_path, "semicycle", "20")
    gain = np.mean([*OURS.values()]) + 0.05 - np.mean([*THEIRS.values()])
    assert found["gain"] == pytest.approx(gain)
    means = [OURS[name] + 0.05 for name in OURS]
    assert found["p"] == pytest.approx(wilcoxon(means, [*THEIRS.values()]).pvalue) and found["n"] == 10
    assert f"| {gain:+.4f} | p = {found['p']:.3f}, n = 10 |" in text


def test_all_terms_stand_beside_the_ablations_by_the_same_seeds(tmp_path):
    for method, seed, score in (("semicycle", 0, 0.6), ("semicycle", 1, 0.8), ("no_disc_S", 0, 0.5)):
        finish(tmp_path, "acdc", "20", method, seed, {"a": score})
    tables.write(tmp_path)
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    seeds = {row["table"]: row["seeds"] for row in rows if (row["method"], row["labels"]) == ("semicycle", "20")}
    assert seeds == {1: [0, 1], 2: [0]}


def test_a_patient_is_one_pair_whatever_seeds_and_volumes_report_it(tmp_path):
    def volumes(scores, seed):
        found = finish(tmp_path, "acdc", "20", "semicycle" if scores is OURS else "partial", seed, scores)
        report = json.loads((found / "report.json").read_text())
        for n, case in enumerate(report["cases"]):
            case["patient"] = f"p{n // 2 + 2 * seed}"  # two volumes each; other test patients with another seed
        (found / "report.json").write_text(json.dumps(report))

    for seed in (0, 1):
        volumes(OURS, seed)
        volumes(THEIRS, seed)
    tables.write(tmp_path)
    found = row(tmp_path, "semicycle", "20")
    assert found["n"] == 7

    def by_patient(scores):
        pairs = [(scores[f"c{2 * n}"] + scores[f"c{2 * n + 1}"]) / 2 for n in range(5)]
        return [np.mean([pairs[p - shift] for shift in (0, 2) if 0 <= p - shift < 5]) for p in range(7)]

    assert found["p"] == pytest.approx(wilcoxon(by_patient(OURS), by_patient(THEIRS)).pvalue)


def test_a_case_without_a_score_is_no_pair_and_ties_have_no_p(tmp_path):
    finish(tmp_path, "acdc", "20", "semicycle", 0, {"a": 0.5, "b": None, "c": 0.6})
    finish(tmp_path, "acdc", "20", "partial", 0, {"a": 0.5, "b": 0.4, "c": 0.6, "d": 0.1})
    text = tables.write(tmp_path)
    found = row(tmp_path, "semicycle", "20")
    assert found["n"] == 2 and found["p"] is None and found["gain"] == pytest.approx(0.15)
    assert "| +0.1500 | - |" in text


def test_seeds_that_only_one_of_both_has_make_no_gain(tmp_path):
    finish(tmp_path, "acdc", "20", "semicycle", 0, OURS)
    finish(tmp_path, "acdc", "20", "partial", 1, THEIRS)
    tables.write(tmp_path)
    found = row(tmp_path, "semicycle", "20")
    assert (found["gain"], found["p"], found["n"]) == (None, None, None)


def test_table_2_has_all_terms_and_each_left_out(tmp_path):
    finish(tmp_path, "voc", "20", "semicycle", 0, {"a": 0.2})
    finish(tmp_path, "voc", "20", "no_cycle_S", 0, {"a": 0.1})
    text = tables.write(tmp_path)
    _, second = text.split("## Table 2: voc")
    assert "| all terms | 20 % | 1 | 0.3000 | 0.4000 | 0.2981 |" in second
    assert "| without cycle_S | 20 % | 1 | 0.2000 | 0.3000 | 0.2627 |" in second
    assert "| without disc_I | 20 % | - | - | - | 0.2543 |" in second
    assert "no_cycle_S" not in text.split("## Table 2")[0]


def test_a_data_set_without_ablations_has_no_table_2(tmp_path):
    finish(tmp_path, "acdc", "20", "semicycle", 0, {"a": 0.2})
    assert "Table 2" not in tables.write(tmp_path)


def test_below_the_tables_stands_what_they_are_not_and_every_command(tmp_path):
    finish(tmp_path, "acdc", "20", "semicycle", 0, {"a": 0.2}, note="chosen on these")
    finish(tmp_path, "acdc", "20", "semicycle", 1, {"a": 0.2}, note="chosen on these")
    tables.write(tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert text.count("Scores of the network's label maps as they are.") == 1
    assert text.count(tables.INCOMPARABLE) == 1 and text.count("chosen on these") == 1
    assert "the command of semicycle 0\n" in text and "the command of semicycle 1\n" in text


def test_the_csv_has_the_rows_of_the_json(tmp_path):
    finish(tmp_path, "acdc", "20", "semicycle", 0, {"a": 0.2})
    finish(tmp_path, "voc", "20", "no_disc_S", 1, {"a": 0.2})
    tables.write(tmp_path)
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    with (tmp_path / "table.csv").open(newline="") as stream:
        read = list(tables.csv.DictReader(stream))
    assert len(read) == len(rows) == 25
    for one, other in zip(read, rows, strict=True):
        assert {k: v for k, v in one.items() if v} == {
            k: " ".join(map(str, v)) if k == "seeds" else str(v) for k, v in other.items() if v not in (None, [])
        }


def test_report_needs_a_finished_run(tmp_path, capsys):
    assert command.main(["--report", str(tmp_path)]) == 2
    assert "holds no finished run: give the --out folder" in capsys.readouterr().err
    finish(tmp_path, "acdc", "20", "semicycle", 0, {"a": 0.2})
    assert command.main(["--report", str(tmp_path)]) == 0
    assert "## Table 1: acdc" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "text"), [*itertools.product(["test/report.json", "finished.json"], ["{", "[]", "{}"])]
)
def test_a_damaged_file_of_a_run_is_named(tmp_path, capsys, name, text):
    folder = finish(tmp_path, "acdc", "20", "semicycle", 0, {"a": 0.2}).parent
    (folder / name).write_text(text)
    assert command.main(["--report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {folder / name} is damaged (") and error.count("\n") == 1, error
