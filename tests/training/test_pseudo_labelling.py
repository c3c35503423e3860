"""Pseudo-labels of whole scans: what is sure, when they are made, and a run that continues with the very same."""

import numpy as np
import pytest
import torch
from torch import nn

from acdc_semicycle.data.pairs import Pairs, Slices
from acdc_semicycle.imageio.pictures import IGNORED
from acdc_semicycle.inference.postprocessing import Refined
from acdc_semicycle.methods.self_training import SelfTraining
from acdc_semicycle.runtime import signals
from acdc_semicycle.training.pseudo_labelling import PseudoLabelling
from tests.methods.few_runs import state, train, workflow

pytestmark = pytest.mark.slow


class Squares(nn.Module):
    """Gives class 1 where the image is above 1, surely above 3, and else the background."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x):
        s = torch.where(x > 3, 0.95, torch.where(x > 1, 0.6, 0.01))
        return torch.cat([1 - s, s], 1).log() * self.weight


class ThreeSlices(Slices):
    """Three slices of two scans."""

    def __init__(self, images):
        self.stored = np.zeros(3, [("record", "i4"), ("image", "i2", images.shape[1:])])
        self.stored["record"] = [0, 0, 1]
        self.images, self.pseudo_labels = images, None

    def plain(self, index):
        return {"image": self.images[index]}


class Unlabelled(Pairs):
    """Of unlabelled slices alone."""

    def __init__(self, dataset):
        self.datasets = {"unlabelled": dataset}


def by_slice(image, network):
    return torch.stack([network(image[..., z]) for z in range(image.shape[-1])], -1)


def test_unsure_pixels_and_smaller_components_are_not_annotated(tmp_path):
    images = torch.zeros(3, 1, 8, 8)
    images[0, 0, 1:4, 1:4] = 5
    images[0, 0, 2, 2] = 2  # unsure within
    images[0, 0, 7, 7] = 5  # another component, smaller
    images[1, 0, 1:4, 1:4] = 5
    refined = Refined("pred", largest=True)
    method, loader = SelfTraining(Squares(), start=0), Unlabelled(ThreeSlices(images))
    labelling = PseudoLabelling(method, loader, by_slice, refined, tmp_path, sure=0.8)
    labels = labelling.labels()
    expected = np.zeros((3, 1, 8, 8), np.uint8)
    expected[:2, 0, 1:4, 1:4] = 1
    expected[0, 0, 2, 2] = expected[0, 0, 7, 7] = IGNORED
    np.testing.assert_array_equal(labels, expected)


def test_they_are_made_once_the_labelled_images_are_learnt_and_then_used(tmp_path, phantom_dir, caplog):
    caplog.set_level("INFO", "semicycle")
    flow = workflow(tmp_path / "run", phantom_dir)
    flow.initialize()
    loader, seen = flow.parser.get_parsed_content("train::dataloader"), []
    trainer = flow.parser.get_parsed_content("train::trainer")
    trainer.add_event_handler(
        "ITERATION_COMPLETED", lambda engine: seen.append(loader.unlabelled.pseudo_labels is None)
    )
    flow.run()
    assert seen == [True] * 3 + [False] * 3
    assert sum("for pseudo-labels" in message for message in caplog.messages) == 1
    with np.load(tmp_path / "run" / "models" / "pseudo_labels.npz") as content:
        assert content["labels"].shape == (len(loader.unlabelled), 1, 64, 64)


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_stopped_training_continues_to_the_same_bits(tmp_path, phantom_dir, epochs):
    """Stopped before the pseudo-labels are made, and while they are used."""
    longer = {"epochs": 3}  # of which the last has pseudo-labels, as three quarters of 3 are 2
    train(tmp_path / "straight", phantom_dir, **longer)
    train(tmp_path / "resumed", phantom_dir, **longer, **{"train::trainer::max_epochs": epochs})
    train(tmp_path / "resumed", phantom_dir, **longer)
    straight, resumed = state(tmp_path / "straight"), state(tmp_path / "resumed")
    for key, value in straight.items():
        torch.testing.assert_close(resumed[key], value, rtol=0, atol=0, equal_nan=True, msg=key)


def test_a_training_that_is_stopped_while_it_segments_continues_to_the_same_bits(tmp_path, phantom_dir, monkeypatch):
    train(tmp_path / "straight", phantom_dir)
    with monkeypatch.context() as patch:
        patch.setattr(PseudoLabelling, "_of_scan", _ask_to_stop_after(1, patch, PseudoLabelling._of_scan))
        with pytest.raises(BaseException) as caught:
            train(tmp_path / "resumed", phantom_dir)
    assert isinstance(caught.value, SystemExit) and caught.value.code == signals.STOPPED
    assert not (tmp_path / "resumed" / "models" / "pseudo_labels.npz").exists()
    train(tmp_path / "resumed", phantom_dir)
    straight, resumed = state(tmp_path / "straight"), state(tmp_path / "resumed")
    for key, value in straight.items():
        torch.testing.assert_close(resumed[key], value, rtol=0, atol=0, equal_nan=True, msg=key)


def _ask_to_stop_after(scans, patch, of_scan):
    """A scan's pseudo-labels; after so many scans a signal is there."""
    done = []

    def counted(*arguments):
        done.append(None)
        if len(done) == scans:
            patch.setattr(signals, "asked", lambda: signals.STOPPED)
        return of_scan(*arguments)

    return counted


def test_a_run_whose_pseudo_labels_are_lost_is_refused_in_a_line(tmp_path, phantom_dir):
    longer = {"epochs": 4, "objective_def::start": 3}
    train(tmp_path / "run", phantom_dir, **longer, **{"train::trainer::max_epochs": 2})
    (tmp_path / "run" / "models" / "pseudo_labels.npz").unlink()
    with pytest.raises(RuntimeError) as caught:  # MONAI's, whose cause is the user's line
        train(tmp_path / "run", phantom_dir, **longer)
    line = str(caught.value.__cause__)
    assert "pseudo_labels.npz cannot be read (No such file or directory)" in line
    assert line.endswith("restore it, or give another output_dir")
