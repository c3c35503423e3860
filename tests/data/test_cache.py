"""Prepared slices on disk: the same as in memory, made once, made anew when anything that matters changes."""

import dataclasses
import functools
import os
import shutil
import signal
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from monai.transforms import CastToTyped, Compose, Lambdad, Resized
from processes import context

from acdc_semicycle.data import cache, digests, slice_records
from acdc_semicycle.data.augment import Augment
from acdc_semicycle.data.pairs import Pairs, Slices
from acdc_semicycle.data.splits import Split
from acdc_semicycle.data.transforms import LoadCheckedd, ScaleImaged
from acdc_semicycle.datasets import acdc
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.imageio import nrrd_meta
from acdc_semicycle.runtime.errors import InputError
from acdc_semicycle.runtime.files import part_file

BOTH = ["image", "label"]


def preparing(size: int = 16, *more) -> Compose:
    return Compose(
        [
            LoadCheckedd(BOTH, allow_missing_keys=True),
            ScaleImaged("image"),
            Resized(BOTH, (size, size, -1), mode=("trilinear", "nearest-exact"), allow_missing_keys=True),
            CastToTyped("label", torch.uint8, allow_missing_keys=True),
            *more,
        ]
    )


@pytest.fixture
def records(tmp_path, phantom_dir):
    """Two patients, whose files a test may change."""
    for patient in ("patient001", "patient002"):
        shutil.copytree(phantom_dir / "training" / patient, tmp_path / "data" / "training" / patient)
    return acdc.records(tmp_path / "data")


def made(records, folder, transform=None, **kwargs) -> Slices:
    return Slices(records, transform or preparing(), cache_dir=folder, **kwargs)


def count_reads(monkeypatch) -> list:
    reads, whole = [], LoadCheckedd.__call__
    monkeypatch.setattr(LoadCheckedd, "__call__", lambda self, item: reads.append(item) or whole(self, item))
    return reads


def test_the_stored_image_is_the_prepared_one_to_half_a_step(records, tmp_path):
    data = made(records, tmp_path / "cache")
    expected = [preparing()({"image": str(r.image), "label": str(r.label)}) for r in records]
    images = torch.cat([e["image"].as_tensor().movedim(-1, 0) for e in expected])
    labels = torch.cat([e["label"].as_tensor().movedim(-1, 0) for e in expected])
    assert len(data) == len(images) == 24
    for index in range(len(data)):
        step = (images[index].max() - images[index].min()) / 65535
        assert (data.plain(index)["image"] - images[index]).abs().max() <= step * 0.51 + 1e-7
        assert torch.equal(data.plain(index)["label"], labels[index])


def test_values_of_eight_bits_are_stored_exactly():
    image = torch.arange(256.0).view(1, 16, 16) / 127.5 - 1
    (row,) = (np.asarray([slice_records.pack({"image": image})]),)
    rows = {key: torch.from_numpy(np.ascontiguousarray(row[key])) for key in ("image", "scale", "offset")}
    torch.testing.assert_close(slice_records.unpacked(rows)["image"][0], image, atol=2e-7, rtol=0)


def test_a_second_time_no_file_is_read_and_all_is_the_same(records, tmp_path, monkeypatch):
    first, memory = made(records, tmp_path / "cache"), made(records, None)
    reads = count_reads(monkeypatch)
    second = made(records, tmp_path / "cache")
    assert not reads and isinstance(second.stored, np.memmap)
    assert first.stored.tobytes() == second.stored.tobytes() == memory.stored.tobytes()
    assert first.stored.dtype == memory.stored.dtype


def test_a_transform_that_was_used_is_still_the_same(records, tmp_path, monkeypatch):
    transform = preparing()
    made(records, tmp_path / "cache", transform)
    reads = count_reads(monkeypatch)
    made(records, tmp_path / "cache", transform)
    assert not reads


def test_the_data_set_may_move_and_be_touched(records, tmp_path, monkeypatch):
    made(records, tmp_path / "cache")
    shutil.move(tmp_path / "data", tmp_path / "elsewhere")
    reads = count_reads(monkeypatch)
    made(acdc.records(tmp_path / "elsewhere"), tmp_path / "cache")
    assert not reads


@pytest.mark.parametrize("what", ["image", "label"])
def test_another_content_is_read_even_with_the_old_size_and_time(what, records, tmp_path):
    before = made(records, tmp_path / "cache").stored.tobytes()
    one, other = (getattr(records[n], what) for n in (0, 3))
    times = one.stat()
    one.write_bytes(other.read_bytes())
    os.utime(one, ns=(times.st_atime_ns, times.st_mtime_ns))
    after = made(records, tmp_path / "cache")
    assert after.stored.tobytes() != before
    assert after.stored.tobytes() == made(records, None).stored.tobytes()


@pytest.mark.parametrize(
    ("transform", "keys", "part"),
    [
        (preparing(20), BOTH, slice(None)),
        (preparing(16, CastToTyped("image", torch.float16)), BOTH, slice(None)),
        (preparing(), ["image"], slice(None)),
        (preparing(), BOTH, slice(1, None)),
        (preparing(), BOTH, slice(None, None, -1)),
    ],
)
def test_other_settings_slices_or_order_are_another_file(transform, keys, part, records, tmp_path):
    made(records, tmp_path / "cache")
    other = made(records[part], tmp_path / "cache", transform, keys=keys)
    assert len(list((tmp_path / "cache").glob("slices-*.npy"))) == 2
    assert other.stored.tobytes() == made(records[part], None, transform, keys=keys).stored.tobytes()


def test_a_description_is_the_same_for_the_same_settings_alone():
    assert (
        digests.description(preparing(16)) == digests.description(preparing(16)) != digests.description(preparing(20))
    )
    assert digests.description({"b", "a"}) == digests.description({"a", "b"})


def halved(image, by=0.5):
    return image * by


@pytest.mark.parametrize("function", [lambda image: image * 0.5, halved, functools.partial(halved, by=0.3), Resized])
def test_what_a_function_computes_cannot_be_told(function, records, tmp_path, caplog):
    transform = preparing(16, Lambdad("image", function) if function is not Resized else Foreign())
    data = made(records, tmp_path / "cache", transform)
    assert "the slices are kept in memory only" in caplog.text and not isinstance(data.stored, np.memmap)


class Foreign:
    """A user's own transform."""

    def __call__(self, item):
        return item


@pytest.mark.parametrize("what", ["data/transforms.py", "datasets/voc.py", "imageio/nifti.py", "version"])
def test_other_code_or_versions_are_another_file(what, records, monkeypatch):
    before = digests.digest_of(records, preparing(), BOTH)
    if what.endswith(".py"):
        whole = digests.file_hash
        monkeypatch.setattr(digests, "file_hash", lambda path: "new" if path.match(what) else whole(path))
    else:
        monkeypatch.setattr(
            digests, "versions", lambda *names: {name: "9" if name == "scipy" else "1" for name in names}
        )
    assert digests.digest_of(records, preparing(), BOTH) != before


@pytest.mark.parametrize("name", ["SEMICYCLE_GEOMETRY", "SEMICYCLE_REPAIR", "SEMICYCLE_MAX_VOXELS"])
def test_what_a_user_allows_the_reader_makes_another_file(name, records, monkeypatch):
    monkeypatch.delenv(name, raising=False)
    before = digests.digest_of(records, preparing(), BOTH)
    monkeypatch.setenv(name, {"SEMICYCLE_GEOMETRY": "sform", "SEMICYCLE_REPAIR": "1"}.get(name, "99999999"))
    assert digests.digest_of(records, preparing(), BOTH) != before


def test_masks_that_are_not_kept_may_be_broken(records, tmp_path):
    for record in records:
        record.label.write_bytes(b"no mask")
    assert len(made(records, tmp_path / "cache", keys=["image"])) == 24


def test_random_changes_follow_seed_and_epoch(records):
    def image(seed: int, epoch: int) -> torch.Tensor:
        data = made(records, None, augment=Augment(shift=5.0, flips=(0.5, 0.5)), seed=seed)
        data.epoch = epoch
        return data[7]["image"]

    assert torch.equal(image(0, 1), image(0, 1))
    assert not torch.equal(image(0, 1), image(0, 2)) and not torch.equal(image(0, 1), image(1, 1))


def test_a_complete_file_is_used_where_nothing_can_be_written(records, tmp_path, monkeypatch):
    made(records, tmp_path / "cache")
    monkeypatch.setattr(cache, "_alone", lambda path: 1 / 0)
    reads = count_reads(monkeypatch)
    made(records, tmp_path / "cache")
    assert not reads


def test_what_a_training_sees_is_told_by_content(records, tmp_path):
    names = sorted({record.patient for record in records})
    split = Split((names[0],), (names[1],), (), ())
    before = digests.contents(split, records)
    seen, unseen = (next(r for r in records if r.patient == name) for name in names[:2])
    assert {f"image of {seen.case}", f"mask of {seen.case}", f"image of {unseen.case}"} < before.keys()
    assert len(before) == 6
    unseen.label.write_bytes(b"other")
    (tmp_path / "data").rename(tmp_path / "moved")
    moved = acdc.records(tmp_path / "moved")
    assert digests.contents(split, moved) == before
    path = next(r for r in moved if r.case == seen.case).label
    path.write_bytes(path.read_bytes() + b"0")
    after = digests.contents(split, moved)
    assert [name for name in before if before[name] != after[name]] == [f"mask of {seen.case}"]


def test_what_a_killed_process_left_is_taken_away(records, tmp_path):
    (tmp_path / "cache").mkdir()
    child = os.fork()
    if child == 0:
        with part_file(tmp_path / "cache" / "slices-0.npy") as part:
            part.write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert list((tmp_path / "cache").glob(".part-*"))
    made(records, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob(".part-*"))


def test_one_slice_of_a_volume_is_not_another(records, tmp_path):
    one, other = ([dataclasses.replace(records[0], slice=n)] for n in (0, 1))
    assert made(one, tmp_path / "cache").stored.tobytes() != made(other, tmp_path / "cache").stored.tobytes()


@pytest.mark.parametrize("ending", [".mhd", ".nrrd"])
def test_voxels_beside_their_header_count(ending, tmp_path):
    path = tmp_path / f"scan{ending}"
    record, names = Record("scan", "scan", path), []
    for value in (1, 2):
        image = SimpleITK.GetImageFromArray(np.full((2, 8, 8), value, np.int16) + np.arange(8, dtype=np.int16))
        SimpleITK.WriteImage(image, str(tmp_path / f"scan{'.nhdr' if ending == '.nrrd' else ending}"))
        if ending == ".nrrd":
            (tmp_path / "scan.nhdr").replace(path)
        names.append(digests.digest_of([record], preparing(), ["image"]))
    assert len({*names}) == 2 and len(nrrd_meta.detached(path)) == 1


def test_voxels_of_a_nifti_pair_count(tmp_path):
    record, names = Record("scan", "scan", tmp_path / "scan.hdr"), []
    for value in (1, 2):
        voxels = np.full((8, 8, 2), value, np.int16) + np.arange(2, dtype=np.int16)
        nibabel.save(nibabel.Nifti1Pair(voxels, np.eye(4)), tmp_path / "scan.img")
        names.append(digests.digest_of([record], preparing(), ["image"]))
    assert None not in names and len({*names}) == 2


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", b"no array at all"])
def test_a_damaged_file_is_made_anew(damage, records, tmp_path, caplog):
    before = made(records, tmp_path / "cache").stored.tobytes()
    (path,) = (tmp_path / "cache").glob("slices-*.npy")
    path.write_bytes(damage)
    assert made(records, tmp_path / "cache").stored.tobytes() == before
    assert f"{path} is damaged" in caplog.text


def test_one_flipped_bit_is_noticed(records, tmp_path, caplog):
    before = made(records, tmp_path / "cache").stored.tobytes()
    (path,) = (tmp_path / "cache").glob("slices-*.npy")
    content = bytearray(path.read_bytes())
    content[-500] ^= 4
    path.write_bytes(content)
    assert made(records, tmp_path / "cache").stored.tobytes() == before
    assert f"{path} is damaged" in caplog.text


def test_a_cut_file_is_made_anew(records, tmp_path):
    before = made(records, tmp_path / "cache").stored.tobytes()
    (path,) = (tmp_path / "cache").glob("slices-*.npy")
    path.write_bytes(path.read_bytes()[:-1])
    assert made(records, tmp_path / "cache").stored.tobytes() == before


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
@pytest.mark.parametrize("name", ["slices", ".lock"])
def test_what_is_no_file_is_refused_and_not_waited_for(make, name, records, tmp_path):
    folder = tmp_path / "cache"
    made(records, folder)
    (path,) = folder.glob("slices-*.npy")
    for each in (path, folder / ".lock"):
        each.unlink()
    make(path if name == "slices" else folder / name)
    with pytest.raises(InputError, match="is there and is no file: remove it, or give another cache_dir"):
        made(records, folder)


def test_a_folder_that_cannot_be_written_costs_a_warning(records, tmp_path, caplog):
    (tmp_path / "cache").write_text("a file")
    data = made(records, tmp_path / "cache")
    assert len(data) == 24 and "the slices are kept in memory" in caplog.text


def test_a_broken_scan_leaves_nothing_behind(records, tmp_path):
    records[2].image.write_bytes(records[2].image.read_bytes()[:300])
    with pytest.raises(RuntimeError, match="LoadCheckedd"):
        made(records, tmp_path / "cache")
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [".lock"]


def test_a_scan_that_cannot_be_opened_is_no_fault_of_the_file_of_slices(tmp_path, caplog):
    tries = []

    def make():
        tries.append(1)
        raise PermissionError(13, "Permission denied", "scan.nii.gz")
        yield

    with pytest.raises(PermissionError):
        cache.kept(tmp_path, lambda: "digest", make)
    assert len(tries) == 1 and not caplog.text


def test_slices_of_different_sizes_are_refused(records):
    with pytest.raises(InputError, match=r"slices have the shapes \(1, 32, 32\) and \(1, 24, 24\)"):
        sizes = iter([32, 24, 24, 24])
        made(records, None, lambda item: preparing(next(sizes))(item))


def test_intensities_that_are_no_numbers_are_refused(records):
    broken = preparing(16, Lambdad("image", lambda image: image / 0))
    with pytest.raises(InputError, match=f"{records[0].case}: a transform gave NaN or infinite intensities"):
        made(records, None, broken)


def test_labels_that_are_no_small_whole_numbers_are_refused(records):
    with pytest.raises(InputError, match="masks hold more than whole numbers 0 to 255"):
        made(records, None, preparing(16, Lambdad("label", lambda label: label + 0.5)))


def _process(root: str, folder: str, results) -> None:
    started = []
    whole = LoadCheckedd.__call__
    LoadCheckedd.__call__ = lambda self, item: time.sleep(0.2) or started.append(1) or whole(self, item)
    data = Slices(acdc.records(Path(root)), preparing(), cache_dir=folder)
    results.put((len(started), data.stored.tobytes()))


def test_of_processes_that_start_together_one_reads_and_all_get_it(records, tmp_path):
    results = context().Queue()
    arguments = (str(tmp_path / "data"), str(tmp_path / "cache"), results)
    processes = [context().Process(target=_process, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    found = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert sorted(reads for reads, _ in found) == [0, 4] and len({content for _, content in found}) == 1


def test_training_leaves_the_file_as_it_is(records, tmp_path):
    data = made(records, tmp_path / "cache")
    (path,) = (tmp_path / "cache").glob("slices-*.npy")
    before = path.read_bytes()
    for batch in Pairs(data, made(records, tmp_path / "cache", keys=["image"]), 4):
        batch["labelled"]["image"].zero_()
    data.stored["scale"] = 0.0
    assert path.read_bytes() == before


def test_slices_held_on_a_device_are_the_same(records, tmp_path, monkeypatch):
    one, other = made(records, None), made(records, None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**30, 2**30))
    monkeypatch.setattr(torch.Tensor, "to", _ignoring_cuda(torch.Tensor.to))
    other.hold(torch.device("cuda"))
    assert other.held and other.__getitems__([3, 29]).keys() == {"index"}
    for batch in (one, other):
        batch.epoch = 1
    a, b = (data.finished(data.__getitems__([3, 29, 5]), "cpu") for data in (one, other))
    assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def _ignoring_cuda(to):
    return lambda self, *args, **kwargs: to(self, *[a for a in args if str(a) != "cuda"], **kwargs)


def test_what_does_not_fit_on_the_device_stays_where_it_is(records, monkeypatch):
    data = made(records, None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4 * data.stored.nbytes - 1, 2**30))
    data.hold(torch.device("cuda"))
    assert not data.held


def test_a_package_that_is_not_installed_does_not_end_training(records, tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "PACKAGES", (*digests.PACKAGES, "no-such-package"))
    assert digests.digest_of(records, preparing(), BOTH)
