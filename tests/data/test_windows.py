"""Windows of slices: against a slow twin in SciPy, by hand, and what they must not depend on."""

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform, gaussian_filter
from torch import nn

from acdc_semicycle.data.appearance import Appearance, standardised
from acdc_semicycle.data.windows import DRAWS, Finder, Windows, label_boxes, mirrored, structure_boxes, warn_of_large

SHAPE, SIZE = (60, 72), (24, 32)
MOVES = {"rotate": 0.5, "scale": 0.25, "aspect": 0.1, "shift": 0.12}


def rows(count: int = 3, box=(20, 29, 30, 45)) -> dict[str, torch.Tensor]:
    noise = np.random.default_rng(0).normal(size=(count, 1, *SHAPE))
    image = torch.as_tensor(gaussian_filter(noise, (0, 0, 4, 4)) * 8, dtype=torch.float32)
    return {
        "image": image,
        "scale": torch.ones(count),
        "offset": torch.zeros(count),
        "label": (image > 0).to(torch.uint8) + 2 * (image > 0.5).to(torch.uint8),
        "box": torch.tensor([box] * count),
    }


def twin(picture: np.ndarray, draws: np.ndarray, settings: dict, box: tuple[int, ...], order: int) -> np.ndarray:
    """A window in plain words: place, sides, then where each of its pixels lies in the slice."""
    size, shape = np.array(SIZE, float), np.array(picture.shape, float)
    low, high = np.array([box[0], box[2]], float), np.array([box[1], box[3]], float)
    centre = (low + high) / 2
    for axis in (0, 1):
        if high[axis] - low[axis] + 1 > size[axis]:
            centre[axis] += (high[axis] - low[axis] + 1 - size[axis]) / 2 * (2 * draws[axis] - 1)
    sides = size
    if draws[2] < settings.get("whole", 0):
        centre, sides = (shape - 1) / 2, shape
    centre = centre + settings.get("shift", 0) * sides * (2 * draws[3:5] - 1)
    angle = settings.get("rotate", 0) * (2 * draws[5] - 1)
    for share, quarter in ((1 / 3, 1), (2 / 3, 2), (1, 3)):
        if draws[11] < settings.get("turns", 0) * share:
            angle += quarter * np.pi / 2
            break
    zoom = np.exp(settings.get("scale", 0) * (2 * draws[6] - 1))
    stretch = np.exp(settings.get("aspect", 0) * (2 * draws[7] - 1))
    pixel = sides / size * zoom * np.array([1 / stretch, stretch])  # of the window, in those of the slice
    pixel = pixel * np.where(draws[8:10] < settings.get("flips", (0, 0)), -1, 1)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # of rows and columns
    matrix = turn @ np.diag(pixel)
    offset = centre - matrix @ ((size - 1) / 2)
    return affine_transform(picture, matrix, offset, output_shape=SIZE, order=order, mode="nearest")


def plain(image: np.ndarray) -> np.ndarray:
    return (image - image.mean()) / image.std()


@pytest.mark.parametrize(
    ("settings", "box"),
    [
        ({}, (20, 29, 30, 45)),
        (MOVES, (20, 29, 30, 45)),
        (MOVES | {"flips": (1.0, 0.0)}, (20, 29, 30, 45)),
        (MOVES | {"flips": (0.0, 1.0)}, (0, 9, 60, 71)),  # over the edge
        (MOVES | {"turns": 1.0}, (20, 29, 30, 45)),
        (MOVES | {"turns": 0.6}, (20, 29, 30, 45)),
        (MOVES | {"whole": 1.0}, (20, 29, 30, 45)),
        (MOVES | {"whole": 0.5, "flips": (0.5, 0.5)}, (2, 50, 5, 66)),  # structures larger than a window
    ],
)
def test_windows_equal_scipys(settings, box):
    given, indices = rows(box=box), [7, 3, 11]
    result = Windows(SIZE, **settings)(given, indices, 5, 2)
    for place, index in enumerate(indices):
        draws = np.random.default_rng((5, 2, index)).random(DRAWS)
        expected = plain(twin(given["image"][place, 0].numpy(), draws, settings, box, 1))
        np.testing.assert_allclose(result["image"][place, 0], expected, atol=2e-3)
        labels = twin(given["label"][place, 0].numpy(), draws, settings, box, 0)
        assert (result["label"][place, 0].numpy() == labels).mean() > 0.99  # a half may be rounded either way


def test_a_window_without_changes_is_that_part_of_the_slice():
    given = rows(box=(20, 29, 30, 45))
    result = Windows(SIZE)(given, [0, 1, 2])
    part = given["image"][..., 13:37, 22:54]
    torch.testing.assert_close(result["image"], standardised(part), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(result["label"], given["label"][..., 13:37, 22:54])


def test_a_slice_smaller_than_the_window_is_seen_whole():
    result = Windows((64, 80))(rows(), [0, 1, 2])
    assert result["image"].shape == (3, 1, 64, 80)
    size = torch.nn.functional.interpolate(rows()["image"], size=(64, 80), mode="bilinear", align_corners=False)
    torch.testing.assert_close(result["image"], standardised(size), atol=1e-4, rtol=1e-4)


def test_bending_moves_image_and_mask_alike_and_only_half_of_the_windows():
    given = rows(40)
    bent, straight = Windows(SIZE, elastic=3.0)(given, range(40), 1), Windows(SIZE)(given, range(40), 1)
    moved = (bent["image"] - straight["image"]).abs().amax((1, 2, 3)) > 0.05
    chosen = np.array([np.random.default_rng((1, index)).random(DRAWS)[10] < 0.5 for index in range(40)])
    assert (moved.numpy() == chosen).all()
    again = Windows(SIZE, elastic=3.0)({**given, "image": given["label"].float()}, range(40), 1)["image"]
    for picture, label in zip(again, bent["label"], strict=True):
        assert np.corrcoef(picture.flatten(), label.flatten())[0, 1] > 0.9


def test_what_a_window_is_depends_on_seed_and_index_alone():
    windows = Windows(SIZE, **MOVES, whole=0.3, flips=(0.5, 0.5), elastic=2.0, appearance=Appearance())
    given = rows()
    together = windows(given, [4, 5, 6], 9, 1)
    alone = windows({key: value[1:2] for key, value in given.items()}, [5], 9, 1)
    for key in ("image", "label"):
        torch.testing.assert_close(together[key][1:2], alone[key], atol=1e-5, rtol=1e-5)
    other = windows(given, [4, 5, 6], 9, 2)
    assert not torch.equal(together["image"], other["image"])


def test_views_show_the_same_pixels_in_another_appearance():
    windows, given = Windows(SIZE, **MOVES, appearance=Appearance(noise=0.0, coarser=1.0, field=0.0)), rows()
    one, other = (windows(given, [4, 5, 6], 9, 1, view=view) for view in (0, 1))
    torch.testing.assert_close(one["label"], other["label"])
    assert not torch.allclose(one["image"], other["image"], atol=0.01)
    for first, second in zip(one["image"], other["image"], strict=True):
        order = first.flatten().argsort()
        assert (second.flatten()[order].diff() >= -1e-4).all(), "gamma keeps the order"


@pytest.mark.parametrize(("change", "share"), [("gamma", 0.7), ("field", 0.5), ("coarser", 0.3), ("noise", 0.5)])
def test_an_appearance_stays_standardised_and_changes_its_share_of_images(change, share):
    image = standardised(rows(30)["image"])
    none = {"gamma": 0.0, "field": 0.0, "noise": 0.0, "coarser": 1.0}
    same = Appearance(**none)(image, generators(30))
    torch.testing.assert_close(same, image, atol=1e-3, rtol=1e-3)
    amount = {"coarser": 3.0}.get(change, 0.5)
    result = Appearance(**none | {change: amount})(image, generators(30))
    torch.testing.assert_close(result, standardised(result), atol=1e-4, rtol=1e-4)
    changed = ((result - image).abs().amax((1, 2, 3)) > 1e-3).float().mean()
    assert abs(changed - share) < 0.25


def test_a_constant_image_stays_finite():
    image = torch.zeros(2, 1, 32, 32)
    assert torch.isfinite(Appearance()(standardised(image), generators(2))).all()


def generators(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng(index) for index in range(count)]


class Bright(nn.Module):
    """Sees a structure where an image is bright."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert not self.training
        return torch.cat([-10 * (x - 1.5), 10 * (x - 1.5)], 1)


def test_the_finder_gives_the_box_of_the_largest_component_in_pixels_of_the_slice():
    image = torch.zeros(2, 1, 60, 72)
    image[0, 0, 20:32, 30:48] = 1
    image[0, 0, 50:54, 4:8] = 1
    network = Bright().train()
    boxes = Finder(network)(image, (30, 36))
    assert network.training
    np.testing.assert_allclose(boxes[0], [20, 31, 30, 47], atol=2)
    np.testing.assert_allclose(boxes[1], [0, 59, 0, 71], atol=2)  # nothing there: all of it


def test_boxes_of_masks_span_all_slices_of_a_volume():
    labels = np.zeros((5, 1, 20, 30), np.uint8)
    labels[0, 0, 4:6, 7:9] = 1
    labels[1, 0, 8:12, 3:5] = 2
    labels[2, 0, 0, 0] = 255  # not annotated
    labels[4, 0, 2, 3] = 1
    boxes = label_boxes(structure_boxes(labels, np.array([0, 0, 0, 1, 2]), 255), (20, 30))
    assert boxes.tolist() == [[4, 11, 3, 8], [0, 19, 0, 29], [2, 2, 3, 3]]


@pytest.mark.parametrize(
    ("boxes", "lines"),
    [
        ([[0, 23, 4, 35], None], []),
        ([[0, 24, 4, 35], [0, 1, 0, 1]], []),
        ([[0, 24, 4, 35], None, [0, 3, 0, 32], [0, 1, 0, 1]], ["2 of 3 labelled images", "24 x 32", "are 25 x 32"]),
    ],
)
def test_structures_larger_than_a_window_are_told_in_a_line(caplog, boxes, lines):
    warn_of_large(boxes, (24, 32))
    assert len(caplog.messages) == bool(lines)
    for words in lines:
        assert words in caplog.messages[0]


def test_an_image_without_structures_is_none_that_is_too_large():
    labels = np.zeros((2, 1, 20, 30), np.uint8)
    labels[1, 0, :, :] = 255
    assert structure_boxes(labels, np.array([0, 1]), 255) == [None, None]


def test_turns_are_quarters_each_as_often_and_never_mirror():
    picture = rows(count=1, box=(20, 43, 25, 48))
    corner = torch.zeros(1, 1, *SHAPE)
    corner[..., 20:32, 25:31] = 1  # a quarter of the window, longer than wide
    given = picture | {"image": corner, "label": corner.to(torch.uint8)}
    square = Windows((24, 24), turns=0.75)
    seen = [square(given, [0], number)["label"][0, 0].numpy() for number in range(200)]
    plain_window = Windows((24, 24))(given, [0], 0)["label"][0, 0].numpy()
    quarters = [np.rot90(plain_window, number) for number in range(4)]
    counts = [sum(np.array_equal(window, quarter) for window in seen) for quarter in quarters]
    assert sum(counts) == 200 and min(counts) > 30


def test_a_network_knows_mirror_images_where_rows_and_columns_were_turned_round():
    assert [mirrored(Windows(SIZE, flips=flips)) for flips in ((0.5, 0.1), (0.5, 0.0), (0, 0))] == [True, False, False]
