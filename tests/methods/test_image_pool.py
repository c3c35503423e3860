"""What discriminators are shown: the newest fakes or older ones, half and half."""

from collections import Counter

import pytest
import torch

from acdc_semicycle.methods.image_pool import ImagePool


def numbered(first: int, length: int = 1):
    """A batch of one-pixel images whose value is their number."""
    return torch.arange(first, first + length).float().view(-1, 1, 1, 1)


def numbers(images) -> list[int]:
    return [int(image) for image in images]


def test_while_it_fills_every_fake_is_kept_and_shown():
    pool = ImagePool(5)
    assert numbers(pool.query(numbered(0, 3))) == [0, 1, 2]
    assert numbers(pool.query(numbered(3, 2))) == [3, 4]
    assert numbers(pool.pool) == [0, 1, 2, 3, 4]


def test_once_full_a_fake_is_shown_and_forgotten_or_swapped_for_an_older_one():
    pool, before = ImagePool(4), []
    for number in range(300):
        before = numbers(pool.pool)
        (shown,) = numbers(pool.query(numbered(number)))
        after = numbers(pool.pool)
        if number < 4:
            assert shown == number and after == [*before, number]
        elif shown == number:
            assert after == before
        else:
            assert shown in before
            assert after == [number if old == shown else old for old in before]


def test_half_of_the_fakes_are_swapped_and_every_place_alike():
    pool = ImagePool(4)
    pool.query(numbered(0, 4))
    places, new = Counter(), 0
    for number in range(4, 4004):
        before = numbers(pool.pool)
        (shown,) = numbers(pool.query(numbered(number)))
        if shown == number:
            new += 1
        else:
            places[before.index(shown)] += 1
    assert new == pytest.approx(2000, abs=120)
    assert sorted(places) == [0, 1, 2, 3]
    assert all(count == pytest.approx(500, abs=100) for count in places.values())


def test_the_images_of_one_batch_are_drawn_one_by_one():
    """A batch is shown partly new, partly old: entries are single images, not whole batches."""
    pool = ImagePool(8)
    pool.query(numbered(0, 8))
    shown = numbers(pool.query(numbered(8, 8)))
    assert len(pool.pool) == 8
    assert all(entry.shape == (1, 1, 1) for entry in pool.pool)
    assert 0 < sum(number >= 8 for number in shown) < 8


@pytest.mark.parametrize("size", [1, 3, 50])
def test_it_never_holds_more_than_its_size(size):
    pool = ImagePool(size)
    for first in range(0, 120, 4):
        assert pool.query(numbered(first, 4)).shape == (4, 1, 1, 1)
        assert len(pool.pool) == min(size, first + 4)


def test_the_paper_keeps_fifty():
    assert ImagePool().size == 50


def test_size_zero_shows_every_fake_as_it_is():
    pool = ImagePool(0)
    for first in range(0, 40, 4):
        assert numbers(pool.query(numbered(first, 4))) == list(range(first, first + 4))
    assert not pool.pool


@pytest.mark.parametrize("size", [0, 1, 50])
def test_what_is_shown_has_no_gradient(size):
    pool, fakes = ImagePool(size), torch.randn(4, 3, 2, 2, requires_grad=True)
    for _ in range(3):
        shown = pool.query(fakes * 2)
        assert not shown.requires_grad
    assert not any(entry.requires_grad for entry in pool.pool)


def test_later_changes_of_a_fake_do_not_reach_the_pool():
    pool, fakes = ImagePool(6), numbered(0, 4)
    pool.query(fakes)
    fakes.fill_(-1)
    assert numbers(pool.pool) == [0, 1, 2, 3]


def test_an_entry_holds_its_own_memory_only():
    """A view would keep, and save, the whole batch."""
    pool = ImagePool(6)
    for _ in range(5):  # kept first, swapped in later
        pool.query(torch.randn(4, 2, 8, 8))
        assert {entry.untyped_storage().nbytes() for entry in pool.pool} == {2 * 8 * 8 * 4}


def test_draws_follow_from_the_seed_alone():
    def draws(seed: int) -> list[int]:
        pool = ImagePool(3, seed)
        return [number for first in range(0, 64, 4) for number in numbers(pool.query(numbered(first, 4)))]

    torch.manual_seed(1)
    first = draws(7)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert draws(7) == first
    assert draws(8) != first
    assert torch.equal(torch.get_rng_state(), state), "the global random state is not its to draw from"


def test_a_restored_pool_goes_on_with_the_very_same_draws(tmp_path):
    pool = ImagePool(4, seed=3)
    pool.query(numbered(0, 10))
    torch.save(pool.state_dict(), tmp_path / "pool.pt")
    expected = [numbers(pool.query(numbered(first, 4))) for first in range(10, 90, 4)]

    other = ImagePool(4, seed=99)
    other.query(numbered(-50, 7))
    other.load_state_dict(torch.load(tmp_path / "pool.pt", weights_only=True))
    assert [numbers(other.query(numbered(first, 4))) for first in range(10, 90, 4)] == expected
    assert numbers(other.pool) == numbers(pool.pool)


def test_a_state_does_not_change_with_the_pool_it_came_from():
    pool = ImagePool(2)
    pool.query(numbered(0, 2))
    state = pool.state_dict()
    random = state["random"].clone()
    other = ImagePool(2)
    other.load_state_dict(state)
    for first in range(2, 30):
        pool.query(numbered(first))
        other.query(numbered(first))
    assert numbers(state["pool"]) == [0, 1]
    assert torch.equal(state["random"], random)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_pool_restored_from_the_cpu_shows_fakes_of_the_gpu():
    """Checkpoints are loaded to the CPU; the fakes after a resume are where training is."""
    pool = ImagePool(4)
    pool.query(numbered(0, 4))
    restored = ImagePool(4)
    restored.load_state_dict(pool.state_dict())
    for first in range(4, 40, 4):
        assert restored.query(numbered(first, 4).cuda()).is_cuda


def test_a_pool_restored_from_another_device_shows_fakes_of_this_one():
    """As above, where no GPU is at hand: the state was the CPU's, the fakes are torch's "meta" device's."""
    pool = ImagePool(4)
    pool.query(numbered(0, 4))
    restored = ImagePool(4)
    restored.load_state_dict(pool.state_dict())
    for first in range(4, 40, 4):
        assert restored.query(numbered(first, 4).to("meta")).is_meta
