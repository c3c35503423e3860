"""What is learned from a mask that came back: its annotated slices with their masks, the others without."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from monai.transforms import Compose

from acdc_semicycle.data import digests
from acdc_semicycle.data.check import before_training
from acdc_semicycle.data.labels import CheckLabeld
from acdc_semicycle.data.pairs import Pairs
from acdc_semicycle.data.slices import Slices
from acdc_semicycle.data.splits import split
from acdc_semicycle.data.transforms import LoadCheckedd
from acdc_semicycle.data.windows import Windows
from acdc_semicycle.datasets.records import Mended, Record
from acdc_semicycle.runtime.errors import InputError, mistakes_alone

EXPECTED = (
    r"holds the label {}: expected whole numbers 0 to {}, or 255 \(not annotated\), the classes of .*, in a mended mask"
)
VALUES = {"0": 0, "10": 1, "20": 2, "30": 3}  # of the data set's own masks; a mended one holds classes


def prepared(classes: int = 4, values: dict | None = None) -> Compose:
    load = LoadCheckedd(("image", "label"), allow_missing_keys=True)
    return Compose([load, CheckLabeld("label", classes, values, allow_missing_keys=True)])


def came_back(record: Record, annotated: tuple[int, ...] | None) -> Record:
    return replace(record, mended=Mended(annotated, None))


def test_slices_that_are_not_annotated_are_255_whatever_the_mask_holds(phantom_records):
    [record] = phantom_records[:1]
    whole = prepared()({"image": record.image, "label": record.label})["label"]
    item = {"image": record.image, "label": record.label, "mended": Mended((1, 4))}
    result = prepared(values=VALUES)(item)
    assert "mended" not in result  # it would be collated
    label = result["label"]
    kept = (label != 255).reshape(-1, label.shape[-1]).any(0)
    places = torch.nonzero(kept).flatten().tolist()
    assert len(places) == 2
    torch.testing.assert_close(label[..., places].as_tensor(), whole[..., places].as_tensor())
    # the phantom stores its slices as they are laid out, or in the reverse order
    assert places in ([1, 4], [whole.shape[-1] - 5, whole.shape[-1] - 2])


def test_a_mended_mask_may_hold_255_and_no_value_that_is_no_class(phantom_records, tmp_path):
    [record] = phantom_records[:1]
    scan = nibabel.load(record.label)
    voxels = np.asarray(scan.dataobj).astype(np.uint8)
    for value, fits in ((255, True), (7, False)):
        voxels[0, 0, 0] = value
        nibabel.save(nibabel.Nifti1Image(voxels, scan.affine), tmp_path / "mask.nii.gz")
        item = {"image": record.image, "label": tmp_path / "mask.nii.gz", "mended": Mended()}
        if fits:
            assert 255 in prepared()(item)["label"].unique()
        else:
            with pytest.raises(InputError, match=EXPECTED.format(7, 3)), mistakes_alone():
                prepared()(item)


def test_each_slice_is_labelled_or_unlabelled_and_none_is_both(phantom_records):
    first, second = phantom_records[:2]
    records = [came_back(first, (0, 3)), second]
    depth = 6
    labelled = Slices(records, prepared())
    unlabelled = Slices([records[0]], prepared(), keys=("image",))
    assert len(labelled) == 2 + depth and len(unlabelled) == depth - 2
    own = {(row["record"].item(), row["slice"].item()) for row in labelled.stored}
    others = {(row["record"].item(), row["slice"].item()) for row in unlabelled.stored}
    assert not own & others and len(own | others) == 2 * depth
    assert all((item["label"] != 255).any() for item in labelled)


def test_the_masks_of_others_stay_unseen(phantom_records):
    [record] = phantom_records[:1]
    transform = prepared()
    seen = []
    Slices([record], lambda item: seen.append(sorted(item)) or transform(item), keys=("image",))
    assert seen == [["case", "image", "patient", "phase"]]


def test_masks_without_an_annotated_pixel_are_refused(phantom_records):
    with pytest.raises(InputError, match=r"the masks of 1 labelled image, e\.g\. .*, hold 255 alone, which means not"):
        Slices([came_back(phantom_records[0], ())], prepared())


@pytest.mark.parametrize("size", [None, (16, 16)])
def test_no_labelled_image_of_a_batch_is_without_annotated_pixels(phantom_records, size):
    records = [came_back(record, (2,)) if number % 2 else record for number, record in enumerate(phantom_records[:4])]
    augment = Windows(size, whole=0.3, shift=0.12, rotate=0.5) if size else None
    labelled = Slices(records, prepared(), augment=augment)
    unlabelled = Slices(records[1::2], prepared(), keys=("image",), augment=augment)
    batches = list(Pairs(labelled, unlabelled, 2, steps=30))
    assert len(batches) == 30
    for batch in batches:
        label = batch["labelled"]["label"]
        assert (label != 255).flatten(1).any(1).all()


def test_the_cache_knows_which_slices_are_annotated(phantom_records):
    [record] = phantom_records[:1]
    versions = [record, came_back(record, None), came_back(record, (1,)), came_back(record, (2,))]
    for keys in (("image", "label"), ("image",)):
        names = [digests.digest_of([version], prepared(), keys) for version in versions]
        assert None not in names and len(set(names)) == 4


def test_a_run_knows_which_slices_were_annotated(phantom_records):
    records = [came_back(record, (1, 4)) if record.patient == "patient001" else record for record in phantom_records]
    contents = digests.contents(split(records, 2, 0, 0), records)
    slices = {name: text for name, text in contents.items() if name.startswith("annotated slices of ")}
    assert len(slices) == 2 and set(slices.values()) == {"2, 5"}


def test_the_check_before_a_training_takes_a_mended_mask_as_it_is_read(phantom_records, tmp_path, caplog):
    records = [came_back(record, (1,)) for record in phantom_records[:2]]
    settings = {"classes": ["background", "RV", "MYO", "LV"], "colours": None, "values": None, "channels": 1}
    before_training(records, tmp_path, "acdc", **settings, intensity_range=None)
    assert "has no RV" not in caplog.text
    with pytest.raises(InputError, match=EXPECTED.format(3, 2) + "$"):
        before_training(
            records[:1], tmp_path, "folder", **settings | {"classes": ["a", "b", "c"]}, intensity_range=None
        )
