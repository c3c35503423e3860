"""Pictures of the methods side by side."""

import numpy as np
import pytest
from tabulating import finish

from acdc_semicycle.experiments import command, panels, tables
from acdc_semicycle.experiments.panels import Shown
from acdc_semicycle.experiments.results import finished_runs


def panel(folder, *names, size=(20, 40)):
    shape = {"image": (*size, 3), "truth": size, "prediction": size}
    arrays = {f"{k}_{n}": np.zeros(shape[k], np.uint8) for k in shape for n in range(len(names))}
    for n in range(len(names)):
        arrays[f"truth_{n}"][:5] = 1
        arrays[f"truth_{n}"][-5:] = 255
    np.savez(folder / "panel.npz", names=np.array(names), **arrays)


def test_the_panel_has_a_column_a_method_and_a_row_a_common_case(tmp_path):
    for method, labels, names in (
        ("partial", "20", ("a", "b", "c")),
        ("semicycle", "20", ("b", "c", "d")),
        ("full", "100", ("c", "b")),
    ):
        panel(finish(tmp_path, "acdc", labels, method, 0, {"a": 0.2}), *names)
    tables.write(tmp_path)
    import matplotlib.image

    height, width, _ = matplotlib.image.imread(tmp_path / "panel_acdc.png").shape
    assert width == pytest.approx(5 * 2.2 * 110, abs=1)
    assert height == pytest.approx((2 * 2.2 / 2 + 0.4 + 0.25) * 110, abs=1)


def test_without_images_the_panel_has_nothing_of_the_data_set(tmp_path):
    for method in ("partial", "semicycle"):
        panel(finish(tmp_path, "acdc", "20", method, 0, {"a": 0.2}), "a")
    shown = {
        method: {"a": Shown(*(np.full((8, 8), value, np.uint8) for value in (99, 1, k)))}
        for k, method in enumerate("pq")
    }
    figure = panels.panel_figure(["a"], shown, ["background", "x"], [[0, 0, 0], [255, 0, 0]], images=False)
    drawn = [axis.images[0].get_array() for axis in figure.axes]
    assert len(drawn) == 2 and not drawn[0].any()  # neither the image nor its truth
    assert drawn[1][0, 0].tolist() == [140, 0, 0]
    assert command.main(["--report", str(tmp_path), "--no-images"]) == 0


def test_the_panel_shows_the_labels_that_most_methods_have_at_the_lowest_seed(tmp_path):
    for method, labels, seed in (
        ("partial", "50", 0),
        ("partial", "10", 0),
        ("partial", "10", 2),
        ("semicycle", "10", 1),
        ("semicycle", "50", 0),
        ("semicycle", "3p", 0),
        ("hung", "20", 0),
        ("full", "100", 3),
    ):
        panel(finish(tmp_path, "acdc", labels, method, seed, {"a": 0.2}), "a")
    chosen = panels.side_by_side(finished_runs(tmp_path))
    assert {title: run.cell.seed for title, run in chosen.items()} == {
        "partial, 10 %": 0,
        "semicycle, 10 %": 1,
        "full, 100 %": 3,
    }


def test_20_percent_is_shown_where_as_many_methods_have_it(tmp_path):
    for labels in ("10", "20"):
        for method in ("partial", "semicycle"):
            panel(finish(tmp_path, "acdc", labels, method, 0, {"a": 0.2}), "a")
    assert list(panels.side_by_side(finished_runs(tmp_path))) == ["partial, 20 %", "semicycle, 20 %"]


def test_no_panel_without_a_common_case(tmp_path):
    panel(finish(tmp_path, "acdc", "20", "partial", 0, {"a": 0.2}), "a")
    panel(finish(tmp_path, "acdc", "20", "semicycle", 0, {"a": 0.2}), "b")
    tables.write(tmp_path)
    assert not list(tmp_path.glob("*.png"))


def test_classes_are_laid_over_the_picture_background_and_ignored_are_not():
    image = np.full((1, 4), 100, np.uint8)
    painted = panels.paint(image, np.array([[0, 1, 2, 255]], np.uint8), [[9, 9, 9], [200, 0, 0], [0, 0, 255]], 1)
    np.testing.assert_array_equal(painted[0], [[100] * 3, [155, 44, 44], [44, 44, 185], [100] * 3])
    np.testing.assert_array_equal(image, 100)
    first = panels.paint(image, np.array([[0, 1, 2, 255]], np.uint8), [[9, 9, 9], [200, 0, 0], [0, 0, 255]], 0)
    assert first[0, 0].tolist() == [49, 49, 49]


def test_the_legend_has_the_classes_that_occur():
    mask = np.array([[0, 2], [2, 255]], np.uint8)
    shown = {"a": Shown(np.zeros((2, 2), np.uint8), mask, np.zeros((2, 2), np.uint8))}
    colours = [[0, 0, 0], [255, 0, 0], [0, 0, 255]]
    figure = panels.panel_figure(["a"], {"partial": shown}, ["background", "x", "y"], colours)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["y"]
    streets = panels.panel_figure(["a"], {"partial": shown}, ["road", "x", "y"], colours)
    assert [text.get_text() for text in streets.legends[0].get_texts()] == ["road", "y"]
