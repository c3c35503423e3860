"""Which label maps are scored, in words."""

import pytest
import torch
from evaluated_images import CLASSES
from monai.engines import SupervisedEvaluator
from monai.transforms import Compose, Identityd

from acdc_semicycle.evaluation import model_report, model_tables, post_processing
from acdc_semicycle.inference.postprocessing import FlipInferer, Refined


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "the network's label maps as they are"),
        ({"largest": False, "holes": False, "cycle": True}, "the network's label maps as they are"),
        ({"holes": True}, "the network's label maps with holes filled (holes)"),
        (
            {"flips": True, "largest": True},
            "the network's label maps with mean over mirror images (flips), largest component of each structure"
            " (largest)",
        ),
    ],
)
def test_the_steps_of_settings_are_named(settings, words):
    assert post_processing.of_settings(settings) == words


def test_a_networks_report_names_what_its_evaluator_does(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"weights")

    def words(flips, *transforms):
        evaluator = SupervisedEvaluator.__new__(SupervisedEvaluator)
        evaluator.inferer = FlipInferer(flips, roi_size=(8, 8))
        report = model_report.Report(
            evaluator,
            torch.nn.Linear(1, 1),
            tmp_path / "model.pt",
            tmp_path,
            CLASSES,
            "test",
            postprocessing=Compose(transforms),
        )
        return report._about()["postprocessing"]

    assert words(False, Identityd("pred")) == post_processing.NONE
    assert words(True, Identityd("pred"), Refined("pred", largest=True)) == post_processing.of_settings(
        {"flips": True, "largest": True}
    )


def test_the_table_tells_that_scores_of_what_predict_writes_may_differ():
    [line] = model_tables.notes({"postprocessing": post_processing.NONE})
    words = "those of what predict writes may differ (--largest, --holes)"
    assert line == f"scores of the network's label maps as they are; {words}"
