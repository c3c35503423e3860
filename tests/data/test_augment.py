"""Random changes of batches: against a slow twin in SciPy, by hand, and what they must not depend on."""

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform, gaussian_filter, map_coordinates

from acdc_semicycle.data.augment import Augment
from acdc_semicycle.data.slice_records import unpacked

MOVES = {"rotate": 0.3, "scale": 0.2, "shift": 6.0, "geometry": 1.0}
SHAPE = (40, 56)


def smooth(count: int = 3, channels: int = 1) -> torch.Tensor:
    noise = np.random.default_rng(0).normal(size=(count, channels, *SHAPE))
    return torch.as_tensor(gaussian_filter(noise, (0, 0, 4, 4)) * 8, dtype=torch.float32)


def batch(count: int = 3) -> dict[str, torch.Tensor]:
    image = smooth(count)
    return rows(image) | {"label": (image > 0).to(torch.uint8) + 2 * (image > 0.5).to(torch.uint8)}


def rows(image: torch.Tensor) -> dict[str, torch.Tensor]:
    """As records: the image is 2 * stored - 1, and pixels are stored as whole 1/1000."""
    stored = ((image + 1) * 500).round() * 0.001
    return {"image": stored, "scale": torch.full((len(image),), 2.0), "offset": torch.full((len(image),), -1.0)}


def image_of(given: dict[str, torch.Tensor]) -> torch.Tensor:
    return unpacked(given)["image"]


def drawn(index: int, *seed: int) -> np.ndarray:
    return np.random.default_rng((*seed, index)).random(12)


def twin(picture: np.ndarray, draws: np.ndarray, flips: tuple[float, float], order: int) -> np.ndarray:
    """Rotation, scaling and shift in pixels about the centre, one picture at a time."""
    angle, down, across = MOVES["rotate"] * (2 * draws[3] - 1), 2 * draws[7] - 1, 2 * draws[6] - 1
    scale_x, scale_y = 1 + MOVES["scale"] * (2 * draws[4:6] - 1)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # of rows and columns
    turn = turn @ np.diag([scale_y, scale_x]) @ np.diag(np.where(draws[:2] < flips, -1.0, 1.0))
    centre = (np.array(picture.shape) - 1) / 2
    offset = centre - turn @ centre + MOVES["shift"] * np.array([down, across])
    return affine_transform(picture, turn, offset, order=order, mode="nearest")


@pytest.mark.parametrize("flips", [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.5, 0.5)])
def test_moved_pictures_equal_scipys(flips):
    given = batch()
    result = Augment(**MOVES, flips=flips)(given, [7, 3, 11], 5, 2)
    for place, index in enumerate((7, 3, 11)):
        draws = drawn(index, 5, 2)
        expected = twin(image_of(given)[place, 0].numpy(), draws, flips, 1)
        np.testing.assert_allclose(result["image"][place, 0], expected, atol=1e-3)
        labels = twin(given["label"][place, 0].numpy(), draws, flips, 0)
        assert (result["label"][place, 0].numpy() == labels).mean() > 0.999  # a half may be rounded either way


def test_all_views_of_a_slice_move_its_pixels_alike_and_draw_intensities_of_their_own():
    moves, brightness = Augment(**MOVES, flips=(0.5, 0.5), elastic=2.0), Augment(gain=0.2, intensity=1.0)
    moved, brightened = (
        [augment(batch(), [7, 3, 11], 5, 2, view=view)["image"] for view in (0, 1, 2)]
        for augment in (moves, brightness)
    )
    assert torch.equal(moved[0], moved[1]) and torch.equal(moved[0], moved[2])
    factors = torch.stack([(image * smooth()).sum((1, 2, 3)) for image in brightened])
    assert all(len(set(of_a_slice.tolist())) == 3 for of_a_slice in factors.T)


def test_without_arguments_nothing_changes():
    given = batch()
    result = Augment()(given, [0, 1, 2], 0, 0)
    assert result.keys() == {"image", "label"}
    assert all(torch.equal(value, unpacked(given)[key]) for key, value in result.items())


@pytest.mark.parametrize("moves", [{}, MOVES])
def test_certain_flips_turn_rows_and_columns_round(moves):
    given = batch()
    still = dict.fromkeys(moves, 0.0) | ({"scale": 1e-12} if moves else {})
    for flips, axes in (((1.0, 0.0), (-2,)), ((0.0, 1.0), (-1,)), ((1.0, 1.0), (-2, -1))):
        result = Augment(flips=flips, **still)(given, [0, 1, 2], 0, 0)
        torch.testing.assert_close(result["image"], image_of(given).flip(axes), atol=1e-4, rtol=0)
        assert (result["label"] == given["label"].flip(axes)).float().mean() > 0.999


def test_flips_are_as_frequent_as_asked_and_independent():
    given = rows(torch.arange(4.0).view(1, 1, 2, 2).expand(2000, 1, 2, 2))
    corner = Augment(flips=(0.25, 0.5))(given, range(2000), 0, 0)["image"][:, 0, 0, 0].round()
    share = [(corner == value).float().mean().item() for value in range(4)]
    np.testing.assert_allclose(share, [0.375, 0.375, 0.125, 0.125], atol=0.03)


def test_intensities_are_a_gain_and_an_offset_of_the_image_alone():
    given = batch()
    result = Augment(gain=0.3, offset=0.2, intensity=0.6)(given, [4, 5, 6], 1, 9)
    for place, index in enumerate((4, 5, 6)):
        draws = drawn(index, 1, 9)
        gain = 1 + 0.3 * (2 * draws[9] - 1) if draws[8] < 0.6 else 1.0
        offset = 0.2 * (2 * draws[11] - 1) if draws[10] < 0.6 else 0.0
        torch.testing.assert_close(result["image"][place], image_of(given)[place] * gain + offset)
    assert torch.equal(result["label"], given["label"])


def test_an_offset_alone_moves_all_pixels_of_an_image_alike():
    given = batch()
    change = Augment(offset=0.5, intensity=1.0)(given, [0, 1, 2], 0, 0)["image"] - image_of(given)
    expected = torch.tensor([0.5 * (2 * drawn(index, 0, 0)[11] - 1) for index in range(3)], dtype=torch.float32)
    torch.testing.assert_close(change, expected.view(3, 1, 1, 1).expand_as(change), atol=1e-5, rtol=0)


def test_a_slice_is_changed_by_chance_as_often_as_asked():
    given = rows(smooth(1).expand(400, -1, -1, -1))
    moved = Augment(**MOVES | {"geometry": 0.7})(given, range(400), 0, 0)["image"]
    still = ((moved - image_of(given)).abs().amax((1, 2, 3)) < 1e-4).float().mean().item()
    assert still == pytest.approx(0.3, abs=0.06)


def test_an_elastic_change_is_a_smooth_displacement_of_the_pixels_asked_for():
    down, across = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
    given = rows(torch.stack([down, across]).expand(200, 2, 64, 96))
    moved = Augment(elastic=3.0, geometry=1.0)(given, range(200), 0, 0)["image"]
    pull = (moved - image_of(given))[:, :, 16:-16, 16:-16]  # beyond the edge is what is at the edge
    assert pull.mean().abs() < 0.2
    spread = pull[:, :, 16, 16].std().item()  # pixel 32 of a grid of points at 0, 31.5, 63: all but on a point
    assert spread == pytest.approx(3.0, rel=0.15)
    assert pull.diff(dim=-1).abs().max() < 1.0, "neighbours move alike"
    coarse = np.random.default_rng((0, 0, 5))
    coarse.random(12)
    points = coarse.standard_normal((2, 3, 4)) * 3.0
    at = moved[5, :, 0, 0].numpy() - image_of(given)[5, :, 0, 0].numpy()
    np.testing.assert_allclose(at, np.maximum(points[::-1, 0, 0], 0), atol=1e-3)


def test_image_and_mask_are_bent_alike():
    given = rows(smooth(2))
    given["label"] = (image_of(given) > 0).to(torch.uint8)
    result = Augment(**MOVES, elastic=2.0)(given, [1, 2], 0, 0)
    clear = result["image"].abs() > 0.3
    assert ((result["image"] > 0) == (result["label"] > 0))[clear].all() and clear.float().mean() > 0.3
    assert set(result["label"].unique().tolist()) <= {0, 1} and result["label"].dtype == torch.uint8


def test_changes_follow_from_seed_epoch_and_index_alone():
    every = Augment(**MOVES, flips=(0.5, 0.5), elastic=2.0, gain=0.2, offset=0.1, intensity=1.0)
    one, four = rows(smooth(1)), rows(smooth(1).expand(4, -1, -1, -1))
    together = every(four, [3, 8, 3, 108], 1, 2)["image"]
    alone = every(one, [8], 1, 2)["image"]
    torch.testing.assert_close(together[1:2], alone, atol=1e-6, rtol=0)
    assert torch.equal(together[0], together[2])
    others = [together[1], together[3], *(every(one, [3], *s)["image"][0] for s in ((1, 3), (2, 2)))]
    assert all((together[0] - other).abs().max() > 0.05 for other in others)


def test_colours_move_together():
    image = smooth(2).expand(-1, 3, -1, -1)
    result = Augment(**MOVES)(rows(image), [0, 1], 0, 0)["image"]
    assert result.shape == image.shape and torch.equal(result[:, 0], result[:, 2])


def test_map_coordinates_agrees_that_the_edge_goes_on():
    given = batch(1)
    far = Augment(shift=30.0, geometry=1.0)(given, [3], 0, 0)["image"][0, 0].numpy()
    draws = drawn(3, 0, 0)
    down, across = 30.0 * (2 * draws[7] - 1), 30.0 * (2 * draws[6] - 1)
    places = np.meshgrid(np.arange(SHAPE[0]) + down, np.arange(SHAPE[1]) + across, indexing="ij")
    expected = map_coordinates(image_of(given)[0, 0].numpy(), places, order=1, mode="nearest")
    np.testing.assert_allclose(far, expected, atol=1e-3)


def test_a_slice_that_is_not_moved_is_not_bent_either():
    given = batch()
    result = Augment(elastic=3.0, geometry=0.0)(given, [0, 1, 2], 0, 0)
    torch.testing.assert_close(result["image"], image_of(given), atol=1e-4, rtol=0)
