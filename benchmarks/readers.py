"""Three ways to a mask, stock SimpleITK's, stock MONAI's and ours, and processes apart in which each is tried.

A reader gives (voxels, affine to RAS in mm), a segmenter writes a mask into a folder. What is tried may hang, abort or
ask for all the memory there is: it is done in a forked process with a limit on both (Linux).
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from odd_files import LPS, File, measured
from predict import Stock
from torch.nn.functional import interpolate

from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.nifti_geometry import IN_MM
from acdc_semicycle.runtime.errors import InputError

TOOLS = ("SimpleITK", "MONAI", "ours")
SIZE, FILTERS = 32, 2  # of a network that is there to give some mask, whatever it is
GIB = 1 << 30
NEAR_MM = 1e-2  # between corners: float32 of a header
Read = tuple[NDArray, NDArray]


def affine_itk(image: Any) -> NDArray[np.float64]:
    """To RAS, in mm, of a SimpleITK image of two, three or four axes."""
    n = image.GetDimension()
    direction = np.array(image.GetDirection()).reshape(n, n)
    result = np.eye(4)
    k = min(n, 3)
    result[:k, :k] = direction[:k, :k] * np.array(image.GetSpacing())[:k]
    result[:k, 3] = np.array(image.GetOrigin())[:k]
    return LPS @ result


def read_itk(path: Path) -> Read:
    image = sitk.ReadImage(str(path))
    return sitk.GetArrayFromImage(image).transpose(), affine_itk(image)


def read_series_itk(path: Path) -> Read:
    """The first series of a folder, as SimpleITK's examples read one."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
    image = reader.Execute()
    return sitk.GetArrayFromImage(image).transpose(), affine_itk(image)


def read_monai(path: Path, stock: Stock) -> Read:
    load, channel_first = stock.load.transforms[:2]
    image: Any = channel_first(load({"image": str(path)}))["image"]
    voxels = image.as_tensor().numpy()
    assert voxels.shape[0] == 1, f"{voxels.shape[0]} channels"
    return voxels[0], image.affine.numpy()


def read_ours(path: Path) -> Read:
    volume = volumes.read(path)
    return volume.voxels, volume.affine


def segment_itk(path: Path, folder: Path, network: torch.nn.Module) -> Path:
    """ReadImage, the network slice by slice as stored, WriteImage with CopyInformation."""
    image = sitk.ReadImage(str(path))
    voxels = sitk.GetArrayFromImage(image)
    low, high = np.percentile(voxels, (0.5, 99.5))
    scaled = np.clip((voxels - low) / (high - low or 1), 0, 1) * 2 - 1
    plane = voxels.shape[-2:]
    slices = torch.from_numpy(scaled.astype(np.float32).reshape(-1, 1, *plane))
    with torch.no_grad():
        logits = interpolate(network(interpolate(slices, (SIZE, SIZE), mode="bilinear")), plane, mode="bilinear")
    labels = logits.argmax(1).numpy().astype(np.uint8).reshape(voxels.shape)
    mask = sitk.GetImageFromArray(labels, isVector=False)
    mask.CopyInformation(image)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "mask.nii.gz"
    sitk.WriteImage(mask, str(target))
    return target


def segment_monai(path: Path, folder: Path, stock: Stock) -> Path:
    stock([path], folder)
    (target,) = folder.iterdir()
    return target


def stored(path: Path) -> Read:
    """A mask that was written, by the library of its container."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return read_itk(path)
    image: Any = nibabel.load(path)
    affine = np.array(image.affine, float)
    affine[:3] *= IN_MM.get(int(image.header["xyzt_units"]) & 7, 1.0)
    return np.asanyarray(image.dataobj), affine


def wrong_grid(shape: Sequence[int], affine: Any, file: File) -> str:
    """How a shape and an affine are not the file's; an axis at the end that has one voxel may be left out."""
    bare = [tuple(np.trim_zeros(np.array(each) - 1, "b") + 1) for each in (shape, file.shape)]
    if bare[0] != bare[1]:
        return f"shape {tuple(shape)}, not {file.shape}"
    apart = corners_apart(np.asarray(affine), np.asarray(file.affine), file.shape)
    return f"a corner {apart:.3g} mm off" if not apart <= NEAR_MM else ""


def corners_apart(one: NDArray, other: NDArray, shape: Sequence[int]) -> float:
    """The largest distance between a volume's corner by two affines, in mm."""
    ends = [(0, n - 1) for n in (*shape, 1, 1, 1)[:3]]
    corners = np.stack([*np.meshgrid(*ends), np.ones((2, 2, 2))]).reshape(4, -1)
    with np.errstate(all="ignore"):
        return float(np.linalg.norm(((one - other) @ corners)[:3], axis=0).max())


def judge(found: Read, file: File) -> str:
    """Nothing, or how what was read is not what the file holds."""
    voxels, affine = found
    if not file.good:
        return f"read as {tuple(voxels.shape)}"
    if wrong := wrong_grid(voxels.shape, affine, file):
        return wrong
    truth = measured(np.asarray(file.affine), file.shape)
    off = float(np.abs(voxels.reshape(file.shape) - truth).max())
    return "" if off < 1e-2 else f"voxels up to {off:.3g} off"


def verdict(error: BaseException, path: Path, own: bool) -> tuple[str, str]:
    """What an exception is: a refusal, an attempt on the memory, or, of ours, no refusal that a user can read."""
    chain: BaseException | None = error
    texts = []
    while chain is not None:
        texts.append(f"{type(chain).__name__}: {chain}")
        chain = chain.__cause__ or chain.__context__
    text = texts[0]
    if any(word in each for each in texts for word in ("MemoryError:", "bad_alloc", "to allocate")):
        return "memory", text
    if own and not (isinstance(error, InputError) and str(path) in str(error)):
        return "other exception", text
    lines = len(str(error).replace(str(path), "").strip().splitlines())
    return ("several lines" if own and lines > 1 else "refused"), text


def each(
    work: Callable[[Any], tuple[str, str]], items: Iterable[Any], seconds: float = 10.0, memory: int = 2 * GIB
) -> Iterator[tuple[str, str]]:
    """``work`` of each item in a process apart: what it gives, or that it hung or aborted.

    Args:
        seconds: for one item, after which it hangs.
        memory: beyond what this process has.
    """
    todo = list(items)
    while todo:
        receive, send = multiprocessing.Pipe(duplex=False)
        child = os.fork()
        if child == 0:
            receive.close()
            _serve(work, todo, send, memory)
        send.close()
        while todo:
            try:
                outcome = receive.recv() if receive.poll(seconds) else ("hang", f"more than {seconds:g} s")
            except EOFError:
                outcome = ("abort", "the process ended")
            yield outcome
            todo = todo[1:]
            if outcome[0] in ("hang", "abort"):
                break
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        receive.close()


def _serve(work: Callable[[Any], tuple[str, str]], items: Sequence[Any], send: Any, memory: int) -> None:
    """Never returns."""
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nothing, stream)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory,) * 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for item in items:
            send.send(work(item))
    finally:
        os._exit(0)
