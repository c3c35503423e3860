"""The plots of clinical indices, and which of them a report has."""

import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from report_folder import cards, rows, words

from acdc_semicycle.report import plots


@pytest.mark.slow
def test_what_is_left_in_the_folder_is_the_report(plotted):
    before = {path for path in plotted.out.rglob("*") if path.is_file()}
    plotted.write()
    written = {str(path.relative_to(plotted.out)) for path in plotted.out.rglob("*") if path.is_file()} - {
        str(path.relative_to(plotted.out)) for path in before
    }
    plots = {f"figures/{kind}_{what}.png" for kind in ("scatter", "bland_altman") for what in ("volumes", "ef")}
    files = {"predictions.json", "evaluation.json", "report.html", "report.json", "report.csv"}
    assert written == plots | files
    for plot in plots:
        assert Image.open(plotted.out / plot).size[0] > 600


@pytest.mark.slow
def test_the_true_index_stands_beside_the_predicted(plotted):
    plotted.predictions["patients"][0]["lv_ef_percent"] = 51.24
    plotted.evaluation["patients"][0]["truth"]["lv_ef_percent"] = 55.55
    assert re.search(r"51\.2\s+55\.[56]", words(plotted.write()))


@pytest.mark.slow
def test_a_second_tool_has_its_columns_its_row_and_its_plots(plotted):
    plotted.second_tool()
    page = plotted.write()
    row, entry = rows(plotted.out)[0], plotted.evaluation["cases"]
    dices = {e["case"]: e["dice"]["mean"] for e in entry if e["tool"] == "ours"}
    assert float(row["dice_mean_2"]) == pytest.approx(dices[row["case"]] - 0.05)
    assert float(row["dice_mean"]) == pytest.approx(dices[row["case"]], abs=1e-6)
    assert "other against ours" in page and "0.912" in page
    for name in ("scatter_ef_2", "bland_altman_volumes_2", "bland_altman_tools_volumes", "bland_altman_tools_ef"):
        assert (plotted.out / "figures" / f"{name}.png").is_file()
    assert len(cards(page)) == 6


def test_a_bland_altman_plot_has_the_bias_and_the_limits():
    axis = Figure().subplots()
    plots.bland_altman(axis, np.array([10.0, 20, 30]), np.array([11.0, 23, 32]), "ml", ("truth", "ours"))
    heights = sorted(line.get_ydata()[0] for line in axis.lines)
    assert heights == pytest.approx([0, 2 - 1.96, 2, 2 + 1.96])  # differences 1, 3, 2: bias 2, deviation 1
    assert "n = 3, bias +2.0, limits +0.0 to +4.0" in axis.get_xlabel()
    assert axis.collections[0].get_offsets()[0].tolist() == [10.5, 1]


@pytest.mark.parametrize("n", [1, 2])
def test_plots_of_few_patients_say_no_more_than_they_know(n):
    axes = Figure().subplots(1, 2)
    plots.bland_altman(axes[0], np.ones(n), np.full(n, 2.0), "ml", ("truth", "ours"))
    plots.scatter(axes[1], np.ones(n), np.full(n, 2.0), "ml", ("truth", "ours"))
    assert ("limits" in axes[0].get_xlabel()) == (n > 2)
    assert "r =" not in axes[1].get_xlabel() and "mean |error| 1.0" in axes[1].get_xlabel()


def test_patients_without_one_of_the_numbers_are_left_out_of_plots(plotted):
    plotted.evaluation["patients"][0]["truth"]["lv_ef_percent"] = None
    plotted.evaluation["patients"][1]["truth"] = None
    figure = plots._plot(
        plots.scatter,
        [(entry["truth"] or {}, entry["prediction"]) for entry in plotted.evaluation["patients"]],
        ("lv_ef_percent", "rv_ef_percent"), ("truth", "ours"),
    )  # fmt: skip
    assert [len(axis.collections[0].get_offsets()) for axis in figure.axes] == [1, 2]
