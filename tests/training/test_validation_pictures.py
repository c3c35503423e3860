"""The slices in TensorBoard: of the validation, with names, as the report shows them."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from torch import nn

from acdc_semicycle.evaluation.windowing import to_grey, window_of
from acdc_semicycle.imageio import volumes
from acdc_semicycle.methods.supervised import Supervised
from acdc_semicycle.training.pictures import Pictures, _foreground

CLASSES = ["background", "RV", "MYO", "LV"]


class Writer:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.figures: list = []

    def add_figure(self, tag, figure, epoch) -> None:
        self.figures.append((tag, figure, epoch))


class Painter(nn.Module):
    """Paints the mask's LV white."""

    def forward(self, masks):
        return 2 * masks[:, 3:] - 1


def items(phantom: Path) -> list[dict]:
    """Two validated volumes of the phantom whose prediction is the truth."""
    result = []
    for patient in ("patient001", "patient002"):
        stem = phantom / "training" / patient / f"{patient}_frame01"
        image, mask = (volumes.read(f"{stem}{end}.nii.gz") for end in ("", "_gt"))
        x, y = (torch.as_tensor(np.array(v.layout.apply(v.voxels[..., 0]), np.float32))[None] for v in (image, mask))
        about = {"case": stem.name, "patient": patient, "phase": "ED"}
        x = MetaTensor(x, meta={"filename_or_obj": f"{stem}.nii.gz"})
        result.append(about | {"image": x, "label": MetaTensor(y)})
    return result


def evaluator_of(validated: list[dict]) -> Engine:
    """An evaluator as MONAI's, which gives the truth."""

    def step(engine, batch):
        label = batch[0]["label"]
        return [{"pred": label, "label": label, "pred_network": label, "label_network": label}]

    engine = Engine(step)
    engine.data_loader = SimpleNamespace(dataset=validated)
    return engine


@pytest.fixture
def objective():
    result = Supervised(nn.Conv2d(1, 4, 1))
    result.G_SI = Painter()
    return result


def pictures_of(objective: Supervised, evaluator: Engine, writer: Writer, dataset=None) -> Pictures:
    """The handler with stand-ins, which its own constructor would refuse by their types."""
    pictures = Pictures.__new__(Pictures)
    vars(pictures).update(
        objective=objective, evaluator=evaluator, dataset=dataset, classes=CLASSES, colours=None, writer=writer,
        interval=1, rows=[],
    )  # fmt: skip
    return pictures


def trained(pictures: Pictures, evaluator: Engine, validated: list[dict]) -> None:
    """Two epochs of a training that validates in each, and a report after its end."""
    trainer = Engine(lambda *_: None)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: evaluator.run([[item] for item in validated]))
    pictures.attach(trainer)
    trainer.run([0], max_epochs=2)
    evaluator.run([[item] for item in validated])


def test_validation_slices_are_drawn_with_their_names_as_the_report_shows_them(phantom_dir, objective):
    validated, writer = items(phantom_dir), Writer()
    evaluator = evaluator_of(validated)
    pictures = pictures_of(objective, evaluator, writer)
    trained(pictures, evaluator, validated)
    assert [(tag, epoch) for tag, _, epoch in writer.figures] == [("validation", 1), ("validation", 2)]
    figure = writer.figures[0][1]
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles[::5] == ["patient001_frame01 ED", "patient002_frame01 ED"]
    volume = volumes.read(validated[0]["image"].meta["filename_or_obj"])
    label = validated[0]["label"][0].numpy()
    z = int((label > 0).sum((0, 1)).argmax())
    plane = volume.layout.apply(volume.voxels[..., 0])[..., z].astype(np.float32)
    shown = np.asarray(figure.axes[0].images[0].get_array())
    assert np.array_equal(shown, to_grey(plane, window_of(plane)).T[::-1, ::-1])
    painted = np.asarray(figure.axes[4].images[0].get_array())
    assert figure.axes[4].get_title(loc="right") == "painted from the prediction"
    assert np.array_equal(painted > 127, (label[..., z] == 3).T[::-1, ::-1])
    assert pictures.rows == []  # of the report after the training nothing is kept


def test_without_validation_the_training_slice_is_drawn_and_named(phantom_dir, objective):
    stem, writer = phantom_dir / "training" / "patient001" / "patient001_frame01", Writer()
    volume, mask = volumes.read(f"{stem}.nii.gz"), volumes.read(f"{stem}_gt.nii.gz")
    planes = volume.layout.apply(volume.voxels[..., 0]), mask.layout.apply(mask.voxels[..., 0]).astype(np.uint8)
    x, y = (plane[None, ..., planes[0].shape[2] // 2] for plane in planes)
    x = 2 * (x - x.min()) / np.ptp(x) - 1
    rows = np.zeros(1, [("record", np.int32), ("label", np.uint8, y.shape)])
    rows["label"][0] = y
    dataset = SimpleNamespace(
        stored=rows, files=[(Path(f"{stem}.nii.gz"), None, 0)], where=lambda _: [f"{stem}.nii.gz slice 4"],
        plain=lambda _: {"image": torch.from_numpy(x.astype(np.float32)), "label": torch.from_numpy(y)},
    )  # fmt: skip
    evaluator = evaluator_of([])
    pictures = pictures_of(objective, evaluator, writer, dataset)
    trainer = Engine(lambda *_: None)
    pictures.attach(trainer)
    trainer.run([0], max_epochs=1)
    ((tag, figure, epoch),) = writer.figures
    assert (tag, epoch) == ("validation", 1)
    assert figure.axes[0].get_title(loc="left") == "training: patient001_frame01.nii.gz slice 4"
    shown = np.asarray(figure.axes[0].images[0].get_array())
    assert np.array_equal(shown, ((x[0] + 1) * 127.5).astype(np.float32).clip(0, 255).astype(np.uint8).T[::-1, ::-1])


def drawn(objective: Supervised, validated: list[dict], prediction: int | None = None):
    """The figure of one validation whose prediction is the truth, or one class everywhere."""
    writer, evaluator = Writer(), evaluator_of(validated)
    if prediction is not None:

        def step(engine, batch):
            label = batch[0]["label"]
            other = torch.full_like(label, prediction)
            return [{"pred": other, "label": label, "pred_network": other, "label_network": label}]

        evaluator._process_function = step
    pictures = pictures_of(objective, evaluator, writer)
    trained(pictures, evaluator, validated)
    return writer.figures[0][1]


def test_of_many_cases_the_first_the_middle_and_the_last_are_drawn(phantom_dir, objective):
    item = items(phantom_dir)[0]
    figure = drawn(objective, [item | {"case": f"c{number}"} for number in range(9)])
    assert [axis.get_title(loc="left") for axis in figure.axes][::5] == ["c0 ED", "c4 ED", "c8 ED"]


def test_both_masks_are_painted_in_their_order(phantom_dir, objective):
    axes = drawn(objective, items(phantom_dir)[:1], prediction=3).axes
    assert [axis.get_title(loc="right") for axis in axes[3:5]] == [
        "painted from the truth",
        "painted from the prediction",
    ]
    truth, prediction = (np.asarray(axis.images[0].get_array()) > 127 for axis in axes[3:5])
    assert prediction.all() and truth.any() and not truth.all()


def test_a_validated_slice_is_painted_though_its_number_is_that_of_the_volume(phantom_dir, objective):
    (item, _) = items(phantom_dir)
    z = int((item["label"] > 0).sum((0, 1, 2)).argmax())
    of_slice = {key: MetaTensor(item[key][..., z : z + 1], meta=item[key].meta) for key in ("image", "label")}
    axes = drawn(objective, [item | of_slice | {"slice": z}]).axes
    painted = np.asarray(axes[4].images[0].get_array())
    assert z > 0 and np.array_equal(painted > 127, (item["label"][0, ..., z].numpy() == 3).T[::-1, ::-1])


def test_what_nobody_annotated_is_no_foreground():
    assert _foreground(np.array([[0, 1, 255, 3]], np.uint8), 4) == 2
