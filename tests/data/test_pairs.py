"""The stream of pairs: who is shown how often, in which order, with which random transform, and what never."""

import collections
import dataclasses
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import RandFlipd, RandGaussianNoised, RandRotated

from acdc_semicycle.data import pairs
from acdc_semicycle.data.augment import Augment
from acdc_semicycle.data.pairs import Pairs
from acdc_semicycle.data.slices import Slices, as_dicts
from acdc_semicycle.data.windows import Windows
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.runtime.errors import InputError

IMAGE = {"labelled": "image", "unlabelled": "u"}  # the key of each stream's images
RANDOM = (RandFlipd(["image"], prob=0.5, spatial_axis=0), RandGaussianNoised(["image"], prob=1.0, std=0.2))
RANDOM_BOTH = (RandRotated(["image", "label"], range_x=3.0, prob=1.0, mode=("bilinear", "nearest")),)


def record(number: int, mask: bool = True) -> Record:
    name = f"patient{number:03d}"
    return Record(f"{name}_frame01", name, Path(f"{number}"), Path(f"{number}") if mask else None, "ED")


def volume(item: dict) -> dict:
    """In place of loading: patient n has n slices, and slice z of it is full of 100 n + z."""
    number = int(item["image"])
    values = 100.0 * number + torch.arange(number)
    image = values.expand(1, 4, 4, number).clone()
    return {**item, "image": image} | ({"label": (image % 7).to(torch.uint8)} if "label" in item else {})


def slices(*numbers: int, mask: bool = True, **kwargs) -> Slices:
    kwargs.setdefault("keys", ("image", "label") if mask else ("image",))
    return Slices([record(n, mask) for n in numbers], volume, **kwargs)


def shown(batch: torch.Tensor) -> list[float]:
    return batch[:, 0, 0, 0].tolist()


def epoch(pairs: Pairs, number: int = 0) -> list[dict]:
    pairs.set_epoch(number)
    return list(pairs)


def same(one: list[dict], other: list[dict]) -> bool:
    flat = [[t for batch in run for stream in batch.values() for t in stream.values()] for run in (one, other)]
    return len(flat[0]) == len(flat[1]) and all(torch.equal(a, b) for a, b in zip(*flat, strict=True))


def test_records_as_dicts_name_a_label_only_where_there_is_one():
    assert as_dicts([record(3), record(4, mask=False)]) == [
        {"image": "3", "label": "3", "case": "patient003_frame01", "patient": "patient003", "phase": "ED"},
        {"image": "4", "case": "patient004_frame01", "patient": "patient004", "phase": "ED"},
    ]


def test_there_are_as_many_slices_as_the_volumes_are_deep_and_in_their_order():
    data = slices(3, 5, 2)
    assert len(data) == 3 + 5 + 2
    assert [item["image"][0, 0, 0].item() for item in data] == [300, 301, 302, 500, 501, 502, 503, 504, 200, 201]
    assert all(torch.equal(item["label"], (item["image"] % 7).to(torch.uint8)) for item in data)
    assert data[0]["image"].shape == data[0]["label"].shape == (1, 4, 4)


def test_slices_are_plain_tensors():
    def with_meta(item):
        return {key: MetaTensor(value) if key == "image" else value for key, value in volume(item).items()}

    data = Slices([record(6)], with_meta)
    for piece in [*data, data.plain(0)]:
        assert type(piece["image"]) is torch.Tensor
        assert piece["image"].is_contiguous() and piece["image"].dtype == torch.float32


def test_a_missing_mask_is_no_slice_without_one():
    with pytest.raises(KeyError, match="label"):
        slices(3, mask=False, keys=("image", "label"))


def test_masks_that_shall_stay_unseen_are_not_kept():
    data = Slices([record(3)], volume, keys=("image",))
    assert all(item.keys() == {"image"} for item in [*data, data.plain(0)])
    assert "label" not in data.stored.dtype.names


def test_masks_of_unlabelled_patients_never_reach_a_batch():
    for unlabelled in (slices(5, keys=("image",)), slices(5), slices(mask=False)):  # even if they were kept
        for batch in epoch(Pairs(slices(3), unlabelled, 2)):
            assert batch.keys() == {"labelled", "unlabelled"}
            assert batch["labelled"].keys() == {"image", "label", "index"}
            assert batch["unlabelled"].keys() == {"u", "index"}


def test_an_image_and_its_mask_stay_together():
    for batch in epoch(Pairs(slices(3, 4), slices(9, mask=False), 2)):
        assert torch.equal(batch["labelled"]["label"], (batch["labelled"]["image"] % 7).to(torch.uint8))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4])
def test_an_epoch_shows_every_unlabelled_slice_once_up_to_the_last_incomplete_batch(batch_size):
    pairs = Pairs(slices(3), slices(5, 6, mask=False), batch_size)
    batches = epoch(pairs)
    assert len(batches) == len(pairs) == 11 // batch_size
    seen = [value for batch in batches for value in shown(batch["unlabelled"]["u"])]
    assert len(seen) == len(set(seen)) == 11 - 11 % batch_size
    assert set(seen) <= {500.0 + z for z in range(5)} | {600.0 + z for z in range(6)}


def test_what_an_epoch_leaves_out_is_not_always_the_same():
    pairs = Pairs(slices(3), slices(5, 6, mask=False), 4)
    left_out = [
        frozenset(range(11)) - {i for batch in [list(pairs.samplers["unlabelled"])] for i in batch}
        for number in range(8)
        if pairs.set_epoch(number) is None
    ]
    assert len(set(left_out)) > 4


@pytest.mark.parametrize(("few", "many"), [((3,), (5, 6)), ((2, 1), (9, 8)), ((5, 6), (3,))])
def test_the_smaller_set_is_repeated_evenly(few, many):
    batches = epoch(Pairs(slices(*few), slices(*many, mask=False), 2))
    for stream, numbers in (("labelled", few), ("unlabelled", many)):
        seen = collections.Counter(value for batch in batches for value in shown(batch[stream][IMAGE[stream]]))
        times = [seen[100.0 * n + z] for n in numbers for z in range(n)]
        assert max(times) - min(times) <= 1


def test_where_nothing_is_unlabelled_the_labelled_images_stand_in():
    pairs = Pairs(slices(4, 5), slices(mask=False), 3)
    batches = epoch(pairs)
    assert len(batches) == 3
    for stream in ("labelled", "unlabelled"):
        seen = [value for batch in batches for value in shown(batch[stream][IMAGE[stream]])]
        assert sorted(seen) == [400, 401, 402, 403, 500, 501, 502, 503, 504]
    orders = [[shown(batch[stream][IMAGE[stream]]) for batch in batches] for stream in ("labelled", "unlabelled")]
    assert orders[0] != orders[1]  # an image is not always its own partner


@pytest.mark.parametrize(("labelled", "unlabelled", "size"), [((3,), (5,), 6), ((3,), (), 4), ((2,), (1,), 3)])
def test_a_batch_larger_than_the_data_is_refused(labelled, unlabelled, size):
    with pytest.raises(ValueError, match=f"batch_size is {size}: give 1 to {size - 1}, the number of slices"):
        Pairs(slices(*labelled), slices(*unlabelled, mask=False), size)


def test_a_batch_may_be_larger_than_the_labelled_set():
    (batch,) = epoch(Pairs(slices(2), slices(5, mask=False), 5))
    assert sorted(collections.Counter(shown(batch["labelled"]["image"])).values()) == [2, 3]


def test_order_follows_from_seed_and_epoch():
    def run(seed, number):
        return epoch(Pairs(slices(3, 4), slices(9, 8, mask=False), 2, seed=seed), number)

    assert same(run(0, 3), run(0, 3))
    runs = [run(seed, number) for seed, number in ((0, 0), (0, 1), (1, 0), (1, 1))]
    for stream in ("labelled", "unlabelled"):
        orders = {tuple(v for batch in batches for v in shown(batch[stream][IMAGE[stream]])) for batches in runs}
        assert len(orders) == 4


def test_an_epoch_does_not_depend_on_those_before():
    pairs = Pairs(slices(3, random_transform=RANDOM), slices(9, mask=False, random_transform=RANDOM), 2)
    first = epoch(pairs, 5)
    epoch(pairs, 0)
    assert same(epoch(pairs, 5), first)


def test_the_epoch_reaches_samplers_and_data():
    pairs = Pairs(slices(3), slices(5, mask=False), 2)
    pairs.set_epoch(7)
    assert {part.epoch for part in (*pairs.samplers.values(), *pairs.datasets.values())} == {7}
    assert {stream: loader.dataset.epoch for stream, loader in pairs.loaders.items()} == {
        "labelled": 7, "unlabelled": 7,
    }  # fmt: skip


@pytest.mark.parametrize("number", [0, 2])
def test_workers_change_nothing(number):
    def run(workers):
        labelled = slices(3, random_transform=RANDOM, seed=1)
        unlabelled = slices(4, mask=False, random_transform=RANDOM, seed=1)
        return epoch(Pairs(labelled, unlabelled, 2, num_workers=workers), number)

    assert same(run(0), run(2))


def test_what_is_sent_to_the_whole_group_is_not_for_the_workers():
    def half(heard: tuple[int, ...]) -> list[dict]:
        labelled = slices(9, random_transform=RANDOM, seed=1)
        stream = iter(Pairs(labelled, slices(9, mask=False, random_transform=RANDOM), 1, num_workers=1))
        batches = [next(stream)]
        for number in heard:
            for worker in multiprocessing.active_children():
                os.kill(worker.pid, number)
        return [*batches, *stream]

    assert same(half((signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)), half(()))


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        RuntimeError("unable to write to file </torch_7_9_0>: No space left on device (28)"),
        RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's"),
    ],
)
def test_a_full_shared_memory_is_named_with_what_to_do(error):
    """In a container it has 64 MB unless more is asked for."""
    stream = iter(pairs.Pairs(slices(9), slices(9, mask=False), 1))
    with pytest.raises(InputError, match=r"/dev/shm is full.*--num_workers 0, or a larger one \(docker run --shm-size"):
        pairs._batches([iter(raising(error))])
    assert next(stream)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device", "a.nii"), RuntimeError("shapes differ")])
def test_any_other_fault_of_loading_is_what_it_was(error):
    with pytest.raises(type(error)) as caught:
        pairs._batches([iter(raising(error))])
    assert caught.value is error


def raising(error: Exception):
    raise error
    yield


@pytest.mark.slow
def test_where_shared_memory_is_tiny_a_training_with_processes_that_load_says_so(phantom_dir):
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # not in /dev/shm, which the command does not see
        data = shutil.copytree(phantom_dir, Path(folder, "phantom"))
        _train_in_tiny_shared_memory(Path(folder), data)


def _train_in_tiny_shared_memory(folder: Path, data: Path) -> None:
    """Train with processes that load where /dev/shm holds 64 KiB, and expect the line that says so."""
    (folder / "noise.yaml").write_text(
        "train::random_transforms::noise: {_target_: RandGaussianNoised, keys: image, prob: 0.5}\n"
    )
    words = "--image_size [64,64] --filters 2 --blocks 1 --d_filters 2 --epochs 1 --steps_per_epoch 4 --num_workers 2"
    command = f"train {folder / 'noise.yaml'} {words} --dataset_dir {data} --output_dir {folder / 'run'}"
    mount = f"mount -t tmpfs -o size=64k tmpfs /dev/shm || exit 99; exec {sys.executable} -m acdc_semicycle {command}"
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare, which gives a command a /dev/shm of its own")
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", mount], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip("this user cannot mount a /dev/shm")
    assert done.returncode == 1 and "error: /dev/shm is full" in done.stderr.splitlines()[-1], done.stderr


def test_workers_do_not_outlive_the_program_and_do_not_hold_it_up(tmp_path):
    program = """
import multiprocessing, sys, time
from acdc_semicycle.data import pairs
from tests.data.test_pairs import RANDOM, slices
stream = iter(pairs.Pairs(slices(9, random_transform=RANDOM), slices(9, random_transform=RANDOM), 1, num_workers=1))
next(stream)
print(*(worker.pid for worker in multiprocessing.active_children()))
sys.exit(3)
"""
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60)
    workers = ran.stdout.split()
    assert (ran.returncode, ran.stderr.replace("\n", ""), len(workers)) == (3, "", 2)
    assert not any(Path("/proc", worker).exists() for worker in workers)


@pytest.mark.parametrize("batches", [1, 4])
def test_a_worker_that_is_killed_is_one_line_where_the_next_batch_is_awaited(batches):
    random = slices(60, random_transform=RANDOM)
    stream = iter(Pairs(random, random, 1, num_workers=1))
    for _ in range(batches):
        next(stream)
    with pytest.raises(InputError, match=r"a process that loads slices was killed.*fewer --num_workers; the same"):
        for _ in stream:
            multiprocessing.active_children()[0].kill()


def test_the_stream_leaves_the_global_random_states_alone():
    pairs = Pairs(slices(3, random_transform=RANDOM), slices(5, mask=False, random_transform=RANDOM), 2)
    torch.manual_seed(0)
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
    epoch(pairs)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], before_numpy)


def test_the_global_random_states_do_not_reach_the_stream():
    def run(seed):
        for source in (torch.manual_seed, np.random.seed, random.seed):
            source(seed)
        return epoch(Pairs(slices(3, random_transform=RANDOM), slices(5, mask=False, random_transform=RANDOM), 2))

    assert same(run(1), run(2))


def test_random_transforms_depend_on_epoch_and_slice_and_not_on_the_order_of_calls():
    one, other = slices(3, random_transform=RANDOM), slices(3, random_transform=RANDOM)
    forwards = [one[i]["image"] for i in (0, 1, 2)]
    backwards = [other[i]["image"] for i in (2, 1, 1, 0)]
    assert torch.equal(forwards[0], backwards[3]) and torch.equal(forwards[2], backwards[0])
    assert torch.equal(forwards[1], backwards[1]) and torch.equal(forwards[1], backwards[2])
    noise = [image - image.round() for image in forwards]
    assert not torch.allclose(noise[0].sort()[0], noise[1].sort()[0], atol=1e-3)
    one.epoch = 1
    assert not torch.allclose(one[0]["image"], forwards[0], atol=1e-3)


def test_a_slice_drawn_twice_in_an_epoch_is_not_transformed_alike():
    data = slices(3, random_transform=RANDOM)
    assert data[0]["image"].mean().round() == data[3]["image"].mean().round() == 300
    assert not torch.allclose(data[0]["image"], data[3]["image"], atol=1e-3)
    batches = epoch(Pairs(data, slices(9, mask=False), 3))
    drawn = [image for batch in batches for image in batch["labelled"]["image"]]
    assert len(drawn) == 9
    for number in (300, 301, 302):
        one, other, third = (image for image in drawn if image.mean().round() == number)
        assert not any(torch.allclose(a, b, atol=1e-3) for a, b in ((one, other), (one, third), (other, third)))


def test_iterating_over_slices_ends():
    assert len(list(slices(2, 3))) == 5


def test_another_seed_gives_other_random_transforms():
    images = [slices(3, random_transform=RANDOM, seed=seed)[1]["image"] for seed in (0, 1, 0)]
    assert torch.equal(images[0], images[2]) and not torch.allclose(images[0], images[1], atol=1e-3)


def test_a_single_random_transform_is_seeded_as_well():
    noise = RandGaussianNoised(["image"], prob=1.0, std=0.2)
    assert torch.equal(slices(3, random_transform=noise)[0]["image"], slices(3, random_transform=noise)[0]["image"])


def test_a_random_transform_moves_an_image_and_its_mask_alike():
    def halves(item):  # the mask is the image's left half
        image = torch.zeros(1, 9, 9, 1)
        image[:, :, :4] = 1
        return {"image": image, "label": image.to(torch.uint8)}

    data = Slices([record(1)], halves, random_transform=RANDOM_BOTH)
    for number in range(4):
        data.epoch = number
        item = data[0]
        inside = item["image"][item["label"] > 0]
        assert inside.numel() > 10 and inside.mean() > 0.8


def test_drawing_leaves_the_slices_in_memory_as_they_were():
    data = slices(3, random_transform=RANDOM + RANDOM_BOTH)
    before = data.stored.tobytes()
    for number in range(3):
        data.epoch = number
        _ = [data[i] for i in range(3)]
    assert data.stored.tobytes() == before


@pytest.mark.parametrize("decollate", [False, True])
def test_the_files_and_slices_of_a_batch_are_named(decollate):
    pairs = Pairs(slices(3, 2), slices(4, mask=False), batch_size=2)
    for batch in epoch(pairs):
        expected = [
            f"{int(value) // 100} slice {int(value) % 100 + 1}"
            for stream, part in batch.items()
            for value in shown(part[IMAGE[stream]])
        ]
        given = batch
        if decollate:
            given = [{key: {k: v[n] for k, v in part.items()} for key, part in batch.items()} for n in range(2)]
            expected = [expected[n + m] for n in range(2) for m in (0, 2)]
        assert pairs.where(given) == expected


def test_of_a_volume_split_by_slice_the_volumes_own_number_is_named():
    data = Slices([dataclasses.replace(record(3), slice=2), dataclasses.replace(record(1), slice=0)], _first)
    assert data.where(torch.tensor([0, 1])) == ["3 slice 3", "1 slice 1"]


def _first(item: dict) -> dict:
    """One slice, as of a record that is one."""
    whole = volume(item)
    return whole | {key: whole[key][..., :1] for key in ("image", "label")}


@pytest.mark.parametrize(
    ("unlabelled", "views", "consequence"),
    [
        ((), ("u",), "the labelled ones stand in for the unlabelled, which gains nothing"),
        ((), (), "the training is supervised, on the labelled images alone"),
        ((3,), ("u",), None),
        ((3,), (), None),
    ],
)
def test_what_follows_where_nothing_is_unlabelled_is_logged_by_what_a_method_asks_for(
    caplog, unlabelled, views, consequence
):
    caplog.set_level("INFO", "semicycle")
    pairs = Pairs(slices(4, 5), slices(*unlabelled, mask=False), 3)
    caplog.clear()
    pairs.select(views)
    assert caplog.messages == ([f"no image is without a mask: {consequence}"] if consequence else [])


@pytest.mark.parametrize(("size", "lines"), [((2, 2), 1), ((64, 64), 0), (None, 0)])
def test_structures_larger_than_the_windows_are_logged_once(caplog, size, lines):
    labelled = slices(4, 5)
    labelled.augment = Windows(size) if size else Augment()
    Pairs(labelled, slices(3, mask=False), 3).select(("u",))
    assert sum("do not fit into a window" in message for message in caplog.messages) == lines
