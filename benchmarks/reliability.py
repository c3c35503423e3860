#!/usr/bin/env python
"""How reliable ours is beside stock SimpleITK and stock MONAI: one table, and one JSON with every failure by name.

    python benchmarks/reliability.py [--out FOLDER] [--short]

All inputs are made here, good ones among the bad, so neither to take everything nor to refuse everything is a score. A
cell is the number of cases that end well, of all. ``--short`` does fewer of each, without the trainings, in a minute on
one core. Linux only: what is tried is forked, limited and killed. MONAI is as installed here, with nibabel; NRRD and
MetaImage it reads with the package itk besides. In the code's order:

    files       274 odd and bad files (odd_files.py): right voxels at the right place, or refused; then file to mask
    pictures    odd and bad pictures (odd_pictures.py): right pixels, or refused
    series      57 odd and bad DICOM series (odd_series.py), likewise
    damage      one file cut at random places, and with single bits flipped
    headers     random bytes in a header: what is taken up has to be what the header says, or what it said before
    kills       a process that saves checkpoints, killed at random times, at random bytes of a file, around file calls
    orders      one volume in its 48 orders of storage, in several rotations: one mask in the patient, bit for bit
    pairs       18 bad pairs of an image and a mask: said before the training
    batch       one bad scan among good ones
    trainings   SIGTERM and SIGKILL in the middle, and the outcome of the rerun beside an uninterrupted run's
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import logging
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import odd_files
import odd_pictures
import odd_series
import SimpleITK as sitk
import torch
from interrupted import NO_LINKS, killed_savers, stopped_trainings
from measure import machine, table
from monai.data import DataLoader, Dataset
from monai.losses import DiceLoss
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImage,
    LoadImaged,
    Orientationd,
    ResizeWithPadOrCropd,
    ScaleIntensityRangePercentilesd,
)
from numpy.typing import NDArray
from odd_files import File
from predict import Stock, ours
from readers import (
    FILTERS,
    GIB,
    NEAR_MM,
    SIZE,
    TOOLS,
    Read,
    corners_apart,
    each,
    judge,
    read_itk,
    read_monai,
    read_ours,
    read_series_itk,
    segment_itk,
    segment_monai,
    stored,
    verdict,
    wrong_grid,
)
from scipy.spatial.transform import Rotation

from acdc_semicycle import cli
from acdc_semicycle.artifacts import weights
from acdc_semicycle.data.check import check
from acdc_semicycle.datasets import phantom
from acdc_semicycle.imageio.nifti_geometry import IN_MM
from acdc_semicycle.imageio.orientation import Layout
from acdc_semicycle.imageio.pictures import intensities, read_picture
from acdc_semicycle.methods.networks import ResidualGenerator

ROOT = Path(__file__).parents[1]
AGREE_MM = 1.0  # qform and sform of one header
PRINTED = 60  # of the failures of a row; the JSON has all
ABSURD_MM = (1e-4, 1e4, 1e6)  # the finest and the coarsest spacing, and the farthest corner, that a header may tell


@dataclass
class Cell:
    """What one tool did: the cases that ended well, of how many, and how the others ended."""

    outcomes: dict[str, tuple[bool, str]] = field(default_factory=dict)
    note: str = ""

    def add(self, name: str, well: bool, how: str = "") -> None:
        self.outcomes[name] = (well, how)

    def as_json(self) -> dict[str, Any]:
        wrong = {name: how for name, (well, how) in self.outcomes.items() if not well}
        return {"good": len(self.outcomes) - len(wrong), "of": len(self.outcomes), "note": self.note, "failures": wrong}


Row = tuple[str, dict[str, Cell]]


@dataclass(frozen=True)
class Bench:
    """What the parts share: a folder to work in, how much of everything, and the tools with one network."""

    folder: Path
    short: bool
    model: Path
    stock: Stock

    @property
    def readers(self) -> dict[str, Callable[[Path], Read]]:
        return {"SimpleITK": read_itk, "MONAI": partial(read_monai, stock=self.stock), "ours": read_ours}

    @property
    def segmenters(self) -> dict[str, Callable[[Path, Path], Path]]:
        itk = partial(segment_itk, network=self.stock.network)
        return {} if self.short else {"SimpleITK": itk, "MONAI": partial(segment_monai, stock=self.stock)}

    def few(self, many: int, short: int) -> int:
        return short if self.short else many

    def seconds(self, tool: str) -> int:
        """After so many a tool hangs on one file."""
        return self.few(20, 10 if tool == "ours" else 3)


def semicycle(*words: Any, memory: int = 8 * GIB) -> subprocess.CompletedProcess[str]:
    """The command line, in a forked process and on one core: the libraries are loaded."""
    with tempfile.TemporaryDirectory(prefix="semicycle") as folder:
        streams = [Path(folder, name) for name in ("stdout", "stderr")]
        child = os.fork()
        if child == 0:
            _become(["semicycle", *map(str, words)], streams, memory)
        _, status = os.waitpid(child, 0)
        texts = [stream.read_text(encoding="utf-8", errors="surrogateescape") for stream in streams]
    return subprocess.CompletedProcess(words, os.waitstatus_to_exitcode(status), *texts)


def _become(words: list[str], streams: Sequence[Path], memory: int) -> None:
    """Run a command in this process and end it; never returns."""
    code: Any = 1
    try:
        for descriptor, stream in enumerate(streams, start=1):
            os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT), descriptor)
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        logging.disable(logging.NOTSET)
        warnings.resetwarnings()
        sys.argv = words
        code = cli.main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def predict(source: Path, out: Path, model: Path) -> tuple[int, dict[str, Path], dict[str, str]]:
    """``semicycle predict``: its exit code, the mask of each scan, and why there is none."""
    done = semicycle("predict", source, "-o", out, "--model", model, "--no-cycle", "--no-largest")
    if not (out / "predictions.json").is_file():
        return done.returncode, {}, {}
    manifest = json.loads((out / "predictions.json").read_text(encoding="utf-8"))
    masks = {case["scan"]: out / case["mask"] for case in manifest["cases"]}
    said = {each["scan"]: each["reason"] for each in manifest["failures"]}
    unheard = [scan for scan, reason in said.items() if reason not in done.stderr]
    return done.returncode, masks, said | dict.fromkeys(unheard, "nothing on the terminal")


# files


def files(bench: Bench) -> list[Row]:
    found = odd_files.make(bench.folder / "odd" / "in")
    reading = {tool: Cell() for tool in TOOLS}
    whole = {tool: Cell() for tool in ("ours", *bench.segmenters)}
    for tool in TOOLS:
        work = partial(_read, bench.readers[tool], tool == "ours")
        _note(reading[tool], found, each(work, found, seconds=bench.seconds(tool)))
        if tool in bench.segmenters:
            work = partial(_segment, bench.segmenters[tool], bench.folder / "odd" / tool)
            _note(whole[tool], found, each(work, found, seconds=bench.seconds(tool)))
    _predicted(bench, bench.folder / "odd", found, whole["ours"])
    rows = [("odd and bad files read right, or refused", reading)]
    for good, words in ((True, "odd, but good: right voxels, right place"), (False, "bad: refused")):
        names = {file.path.name for file in found if file.good is good}
        part = {tool: Cell({k: v for k, v in cell.outcomes.items() if k in names}) for tool, cell in reading.items()}
        rows.append((f"- {words}", part))
    return [*rows, ("odd and bad files, file to mask on its own grid", whole)]


def _predicted(bench: Bench, folder: Path, found: Sequence[File], cell: Cell) -> None:
    """What ``semicycle predict`` makes of all below ``folder / "in"``."""
    code, masks, said = predict(folder / "in", folder / "ours", bench.model)
    for file in filter(lambda file: file.segmented, found):
        name, scan = file.path.name, str(file.path)
        if file.good:
            wrong = _wrong_mask(masks[scan], file) if scan in masks else said.get(scan, "left out in silence")
            cell.add(name, not wrong, wrong)
        else:
            how = said.get(scan, "a mask" if scan in masks else "left out in silence")
            cell.add(name, scan not in masks and scan in how and "\n" not in how.replace(scan, ""), how)
    cell.add("exit code", code not in (0, *range(-64, 0)), str(code))


def series(bench: Bench) -> list[Row]:
    """Folders of DICOM; stock MONAI reads none without a package more."""
    found = odd_series.make(bench.folder / "series" / "in")
    reading, whole = {"SimpleITK": Cell(), "ours": Cell()}, Cell()
    for tool, read in (("SimpleITK", read_series_itk), ("ours", read_ours)):
        _note(reading[tool], found, each(partial(_read, read, tool == "ours"), found, seconds=bench.seconds(tool)))
    _predicted(bench, bench.folder / "series", found, whole)
    return [
        ("odd and bad DICOM series read right, or refused", reading),
        ("odd and bad DICOM series, folder to mask on its own grid", {"ours": whole}),
    ]


def pictures(bench: Bench) -> list[Row]:
    """Odd and bad pictures; of colours all channels are one grey."""
    found = odd_pictures.make(bench.folder / "pictures")
    readers = {"SimpleITK": _pixels_itk, "MONAI": _pixels_monai, "ours": _pixels_ours}
    cells = {tool: Cell() for tool in TOOLS}
    for tool in TOOLS:
        work = partial(_picture, readers[tool], tool == "ours")
        _note(cells[tool], found, each(work, found, seconds=bench.seconds(tool)))
    return [("odd and bad pictures read right, or refused", cells)]


def _pixels_itk(path: Path) -> NDArray:
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    assert image.shape[0] > 1, "several pages"
    return image[..., 0] if image.ndim == 3 else image


def _pixels_monai(path: Path) -> NDArray:
    image = LoadImage(image_only=True)(path).numpy().swapaxes(0, 1)  # columns first
    return image[..., 0] if image.ndim == 3 else image


def _pixels_ours(path: Path) -> NDArray:
    return intensities(path, read_picture(path), 1)[..., 0]


def _picture(read: Callable[[Path], NDArray], own: bool, picture: odd_pictures.Picture) -> tuple[str, str]:
    try:
        pixels = read(picture.path)
    except Exception as error:
        return verdict(error, picture.path, own)
    if not picture.good:
        return "wrong", f"read as {pixels.shape}"
    scale = 257 if pixels.max() > 255 else 1
    truth = odd_pictures.PIXELS.astype(float) * scale
    off = float(np.abs(pixels - truth).max()) if pixels.shape == truth.shape else np.inf
    return ("right", "") if off <= picture.off else ("wrong", f"up to {off} off")


def _note(cell: Cell, found: Sequence[File | odd_pictures.Picture], outcomes: Iterable[tuple[str, str]]) -> None:
    ended: Counter[str] = Counter()
    for file, (outcome, text) in zip(found, outcomes, strict=True):
        cell.add(file.path.name, outcome == ("right" if file.good else "refused"), f"{outcome}: {text}")
        ended[outcome] += outcome in ("hang", "abort", "memory")
    cell.note = ", ".join(f"{n} {outcome}" for outcome, n in ended.items() if n)


def _read(read: Callable[[Path], Read], own: bool, file: File) -> tuple[str, str]:
    try:
        wrong = judge(read(file.path), file)
    except Exception as error:
        return verdict(error, file.path, own)
    return ("wrong", wrong) if wrong else ("right", "")


def _segment(segment: Callable[[Path, Path], Path], folder: Path, file: File) -> tuple[str, str]:
    try:
        made = segment(file.path, folder / file.path.name)
    except Exception as error:
        return verdict(error, file.path, own=False)
    wrong = _wrong_mask(made, file) if file.good else "a mask"
    return ("wrong", wrong) if wrong else ("right", "")


def _wrong_mask(path: Path, file: File) -> str:
    voxels, affine = stored(path)
    return wrong_grid(voxels.shape, affine, file)


# damage


def damage(bench: Bench) -> list[Row]:
    """Cuts and flips of one compressed scan; a flip that changes nothing, in gzip's own header, may be read."""
    shape = (128, 128, 12)  # 240 KB packed: of much smaller files SimpleITK notices a flipped bit, of these not
    voxels = np.random.default_rng(0).normal(300, 40, shape).astype("<i2")
    content = gzip.compress(odd_files.nifti(voxels))
    draw, n = random.Random(0), bench.few(150, 15)
    cut = [content[: draw.randrange(len(content))] for _ in range(n)]
    flipped = [_flip(content, draw.randrange(len(content)), draw.randrange(8)) for _ in range(n)]
    rows = []
    for what, contents in {"cut at a random byte": cut, "with one random bit flipped": flipped}.items():
        cells = {tool: Cell() for tool in TOOLS}
        for tool in TOOLS:
            work = partial(_damaged, bench.readers[tool], bench.folder / "damaged.nii.gz", voxels, tool == "ours")
            for k, (outcome, text) in enumerate(each(work, contents)):
                cells[tool].add(f"{what}, {k}", outcome in ("refused", "right"), f"{outcome}: {text}")
        rows.append((f"a .nii.gz {what}: refused" + (" or right" if "bit" in what else ""), cells))
    return rows


def _flip(content: bytes, place: int, bit: int) -> bytes:
    result = bytearray(content)
    result[place] ^= 1 << bit
    return bytes(result)


def _damaged(read: Callable[[Path], Read], path: Path, truth: NDArray, own: bool, content: bytes) -> tuple[str, str]:
    path.write_bytes(content)
    try:
        voxels, affine = read(path)
    except Exception as error:
        return verdict(error, path, own)
    same = voxels.size == truth.size and bool((voxels.reshape(truth.shape) == truth).all())
    same = same and corners_apart(affine, odd_files.PLACE, truth.shape) < NEAR_MM
    return ("right", "") if same else ("wrong", "read without an error")


# headers


def headers(bench: Bench) -> list[Row]:
    """One to four random bytes of a header, whose geometry is told by both forms, or by one.

    A header that tells another sane geometry, type or scale of exactly the file's length cannot be known to be wrong:
    then what it tells is right (``_told``). All else has to be refused, or read as if nothing had changed.
    """
    draw, n = random.Random(0), bench.few(3000, 200)
    bases = [odd_files.nifti(odd_files.V, codes=codes) for codes in ((1, 1), (0, 1), (1, 0))]
    mutated = []
    for k in range(n):
        content = bytearray(bases[k % 3])
        for _ in range(draw.randint(1, 4)):
            content[draw.randrange(348)] = draw.randrange(256)
        mutated.append(bytes(content))
    right, ended = {tool: Cell() for tool in TOOLS}, {tool: Cell() for tool in TOOLS}
    for tool in TOOLS:
        work = partial(_mutated, bench.readers[tool], bench.folder / "mutated.nii", tool == "ours")
        counts: Counter[str] = Counter()
        for k, (outcome, text) in enumerate(each(work, mutated)):
            counts[outcome] += 1
            right[tool].add(f"header {k}", outcome != "wrong", f"{outcome}: {text}")
            ended[tool].add(f"header {k}", outcome in ("right", "wrong", "refused"), f"{outcome}: {text}")
        right[tool].note = f"{counts['right']} read, {counts['refused']} refused"
    return [
        ("random bytes in a header: none read wrong", right),
        ("random bytes in a header: no crash, no hang, no absurd memory, no stray exception", ended),
    ]


def _mutated(read: Callable[[Path], Read], path: Path, own: bool, content: bytes) -> tuple[str, str]:
    path.write_bytes(content)
    try:
        voxels, affine = read(path)
    except Exception as error:
        return verdict(error, path, own)
    before = judge((voxels, affine), File(path, "", True, affine=odd_files.PLACE))
    if not before:
        return "right", "as before"
    told = _told(content)
    if isinstance(told, str):
        return "wrong", f"{before}; {told}"
    values, affines = told
    off = [wrong_grid(voxels.shape, affine, File(path, "", True, values.shape, one)) for one in affines]
    if all(off):
        return "wrong", f"{off[0]}, by the header"
    apart = np.abs(voxels.reshape(values.shape) - values).max()
    close = apart <= 1e-4 * np.abs(values).max() + 1e-6
    return ("right", "as the header tells") if close else ("wrong", f"voxels {apart:.3g} off, by the header")


def _told(content: bytes) -> tuple[NDArray, list[NDArray]] | str:
    """Voxels and affines that a little-endian .nii tells by the standard, or why it tells nothing sane."""
    head = nibabel.Nifti1Header(content[:348], endianness="<", check=False)
    types = {2: "u1", 4: "<i2", 8: "<i4", 16: "<f4", 64: "<f8", 256: "i1", 512: "<u2", 768: "<u4", 1024: "<i8"}
    kind = np.dtype(types.get(int(head["datatype"]), "V1"))
    axes = int(head["dim"][0])
    if head["sizeof_hdr"] != 348 or head["magic"].item() != b"n+1":
        return "no NIfTI"
    if not 1 <= axes <= 7 or kind.kind == "V" or head["bitpix"] != 8 * kind.itemsize:
        return f"{axes} axes of type {head['datatype']} of {head['bitpix']} bits"
    shape = tuple(map(int, head["dim"][1 : axes + 1]))
    start = float(head["vox_offset"])
    if min(shape) < 1 or not start.is_integer() or start < 352:
        return f"{shape} from {start:g} on"
    if int(start) + int(np.prod(shape, dtype=object)) * kind.itemsize != len(content):
        return f"{shape} of {kind} from {start:g} on in {len(content)} bytes"
    voxels = np.frombuffer(content[int(start) :], kind).reshape(shape, order="F").astype(float)
    slope, inter = float(head["scl_slope"]), float(head["scl_inter"])
    if np.isfinite(slope) and slope != 0:
        voxels = voxels * slope + inter
    if not np.isfinite(voxels).all():
        return f"slope {slope:g}, intercept {inter:g}"
    affines = _geometries(head)
    if isinstance(affines, str):
        return affines
    apart = corners_apart(affines[0], affines[-1], shape)
    if not apart <= AGREE_MM:
        return f"sform and qform are {apart:.3g} mm apart"
    spacing, size = head["pixdim"][1:4].astype(float), np.linalg.norm(affines[0][:3, :3], axis=0)
    if np.isfinite(spacing).all() and (spacing > 0).all():  # ITK takes the spacing from here, the rest from the sform
        affines.append(affines[0] @ np.diag([*spacing / size, 1]))
    return voxels, affines


def _geometries(head: Any) -> list[NDArray] | str:
    """By sform and qform, whichever are told, or what is not sane in one of them."""
    found = []
    if head["sform_code"] > 0:
        found.append(np.stack([head[f"srow_{axis}"] for axis in "xyz"] + [np.eye(4)[3]]).astype(float))
    if head["qform_code"] > 0:
        b, c, d = (float(head[f"quatern_{name}"]) for name in "bcd")
        rest = 1 - b * b - c * c - d * d
        spacing = head["pixdim"][1:4].astype(float)
        if not (rest > -1e-6 and np.isfinite(spacing).all() and (spacing > 0).all()):
            return f"spacing {spacing}, quaternion {b:.3g}, {c:.3g}, {d:.3g}"
        affine = np.eye(4)
        turn = Rotation.from_quat([b, c, d, max(rest, 0) ** 0.5]).as_matrix()
        affine[:3, :3] = turn * spacing * [1, 1, -1 if head["pixdim"][0] < 0 else 1]
        affine[:3, 3] = [head[f"qoffset_{axis}"] for axis in "xyz"]
        found.append(affine)
    for affine in found:
        affine[:3] *= IN_MM.get(int(head["xyzt_units"]) & 7, 1.0)
        size = np.linalg.norm(affine[:3, :3], axis=0)
        fine, coarse, far = ABSURD_MM
        sane = np.isfinite(affine).all() and size.min() > fine and size.max() < coarse
        if not (sane and np.abs(affine[:3, 3]).max() < far and abs(np.linalg.det(affine[:3, :3] / size)) > 1e-3):
            return f"affine {affine.tolist()}"
    return found or "neither sform nor qform"


# orders


ROTATIONS = {
    "45 about z": Rotation.from_euler("z", 45, degrees=True),
    "20": Rotation.from_euler("xyz", [20, 20, 20], degrees=True),
    "none": Rotation.identity(),
    "44": Rotation.from_euler("x", 44, degrees=True),
    "45 about x": Rotation.from_euler("x", 45, degrees=True),
    "45 about y": Rotation.from_euler("y", 45, degrees=True),
    "diagonal": Rotation.from_euler("xyz", [45, 35.264389682754654, 0], degrees=True),
    "120": Rotation.from_euler("zyx", [120, 10, -30], degrees=True),
}
STORED = [
    Layout(order, flipped)  # type: ignore[arg-type]
    for order in itertools.permutations(range(3))
    for flipped in itertools.product((False, True), repeat=3)
]


def orders(bench: Bench) -> list[Row]:
    voxels = np.random.default_rng(0).integers(0, 900, (20, 26, 8)).astype("<i2")
    cells = {tool: Cell() for tool in TOOLS}
    for name, rotation in itertools.islice(ROTATIONS.items(), bench.few(len(ROTATIONS), 1)):
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = rotation.as_matrix() * [1.4, 1.4, 2.5], [-70, 33, 12]
        home = bench.folder / "orders" / name.replace(" ", "_")
        home.mkdir(parents=True)
        scans = [home / f"order{n:02d}.nii.gz" for n in range(len(STORED))]
        for path, order in zip(scans, STORED, strict=True):
            path.write_bytes(gzip.compress(odd_files.nifti(order.apply(voxels), order.affine(affine, voxels.shape))))
        bench.stock(scans, home / "MONAI")
        ours(scans, home / "ours", bench.model, "cpu")
        for n, path in enumerate(scans):
            segment_itk(path, home / "SimpleITK", bench.stock.network).rename(
                home / "SimpleITK" / f"order{n:02d}_seg.nii.gz"
            )
        for tool in TOOLS:
            first = None
            for path, order in zip(scans, STORED, strict=True):
                mask, place = stored(home / tool / path.name.replace(".nii", "_seg.nii"))
                labels = order.undo(mask)
                first = labels if first is None else first
                apart = corners_apart(place, order.affine(affine, voxels.shape), mask.shape)
                same = bool((labels == first).all()) and apart < NEAR_MM
                cells[tool].add(
                    f"{name}, {path.name}", same, f"{(labels != first).mean():.0%} of voxels, {apart:.3g} mm"
                )
            assert first is not None and len(np.unique(first)) > 1, "a mask of one label tests nothing"
    return [("48 orders of storage, in several rotations: one mask in the patient", cells)]


# pairs


def _again(path: Path, change: Callable[[NDArray], NDArray] = lambda v: v, move: Any = None) -> None:
    """Store a volume again with other voxels, or another affine."""
    old = nibabel.load(path)
    affine = old.affine if move is None else old.affine @ move
    path.write_bytes(gzip.compress(odd_files.nifti(change(np.asanyarray(old.dataobj)), affine)))


def _value(value: float) -> Callable[[NDArray], NDArray]:
    def change(voxels: NDArray) -> NDArray:
        voxels = voxels.astype("<f4")
        voxels[3, 4, 2] = value
        return voxels

    return change


FLIP, MOVE = np.diag([-1.0, 1, 1, 1]), np.eye(4)
FLIP[0, 3], MOVE[0, 3] = 21, 10  # to ten voxels beside itself, 15 mm and more; by as much
RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
PAIRS: dict[str, tuple[str, str, Callable[[Path], Any]]] = {  # which file, what should be said, and what is done
    "mask flipped in its header": ("mask", "fault", lambda p: _again(p, move=FLIP)),
    "mask 15 mm off": ("mask", "fault", lambda p: _again(p, move=MOVE)),
    "mask of 30 rows": ("mask", "fault", lambda p: _again(p, lambda v: v[:30])),
    "mask of 0, 0.5, 1": ("mask", "fault", lambda p: _again(p, lambda v: (np.minimum(v, 2) / 2).astype("<f4"))),
    "mask divided by 255": ("mask", "fault", lambda p: _again(p, lambda v: (v / 255).astype("<f4"))),
    "mask with NaN": ("mask", "fault", lambda p: _again(p, _value(np.nan))),
    "label 7": ("mask", "fault", lambda p: _again(p, _value(7))),
    "label -1": ("mask", "fault", lambda p: _again(p, _value(-1))),
    "mask of two frames": ("mask", "fault", lambda p: _again(p, lambda v: np.stack([v, v], -1))),
    "mask in colours": ("mask", "fault", lambda p: _again(p, lambda v: np.zeros(v.shape, RGB))),
    "mask with a wrong checksum": ("mask", "fault", lambda p: p.write_bytes(_flip(p.read_bytes(), -6, 2))),
    "mask that is the image": ("mask", "fault", lambda p: p.write_bytes(_image(p).read_bytes())),
    "image with NaN": ("image", "fault", lambda p: _again(p, _value(np.nan))),
    "image with Inf": ("image", "fault", lambda p: _again(p, _value(np.inf))),
    "image cut short": ("image", "fault", lambda p: p.write_bytes(p.read_bytes()[:-200])),
    "empty mask": ("mask", "warning", lambda p: _again(p, lambda v: v * 0)),
    "constant image": ("image", "warning", lambda p: _again(p, lambda v: v * 0 + 3)),
    "mask transposed under its own header": ("mask", "unknowable", lambda p: _again(p, lambda v: v.swapaxes(0, 1))),
}  # fmt: skip


def _image(mask: Path) -> Path:
    return mask.with_name(mask.name.replace("_gt", ""))


def pairs(bench: Bench) -> list[Row]:
    """In a tree of two patients each; a tree with nothing wrong is among them. The last pair nobody can know."""
    sound = bench.folder / "pairs" / "sound"
    phantom.write(sound, patients=2, size=(32, 32, 6))
    cells = {tool: Cell() for tool in ("MONAI", "ours")}
    counts: dict[str, Counter[str]] = {tool: Counter() for tool in cells}
    for n, (name, (which, expected, spoil)) in enumerate({"nothing": ("mask", "", None), **PAIRS}.items()):
        root = Path(shutil.copytree(sound, bench.folder / "pairs" / str(n)))
        image = root / "training" / "patient002" / "patient002_frame01.nii.gz"
        mask = image.with_name("patient002_frame01_gt.nii.gz")
        path = {"mask": mask, "image": image}[which]
        if spoil:
            spoil(path)
        found = {(finding.severity, finding.path) for finding in check(root, progress=iter)}
        said = next((severity for severity in ("fault", "warning") if (severity, path) in found), "")
        ((told, text),) = each(partial(_first_step, mask), [image])
        for tool, what in (("MONAI", "fault" if told else ""), ("ours", said)):
            counts[tool][{"fault": "refused", "warning": "warned"}.get(what, "silent")] += spoil is not None
        if expected == "unknowable":
            continue
        elsewhere = {where for _, where in found} - {image, mask}
        cells["ours"].add(name, said == expected and not elsewhere, said or "nothing said")
        cells["MONAI"].add(name, bool(told) == bool(expected), text or "nothing said")
    for tool, cell in cells.items():
        cell.note = "of all 18: " + ", ".join(f"{n} {how}" for how, n in counts[tool].items())
    return [("17 bad pairs of image and mask, and a sound one: told before training", cells)]


def _first_step(mask: Path, image: Path) -> tuple[str, str]:
    """Whether stock MONAI's transforms and loss complain of a pair, in its first step at the latest."""
    keys = ["image", "label"]
    load = Compose([
        LoadImaged(keys),
        EnsureChannelFirstd(keys),
        Orientationd(keys, "RAS"),
        ScaleIntensityRangePercentilesd("image", 0.5, 99.5, -1, 1, clip=True),
        ResizeWithPadOrCropd(keys, (32, 32, 32)),
    ])  # fmt: skip
    try:
        (item,) = DataLoader(Dataset([{"image": str(image), "label": str(mask)}], load))
        logits = torch.cat([item["image"] * k for k in range(4)], 1)
        DiceLoss(to_onehot_y=True, softmax=True)(logits, item["label"])
    except Exception as error:
        return "said", f"{type(error).__name__}: {error}"[:200]
    return "", ""


# batch


def batch(bench: Bench) -> list[Row]:
    """Good scans with a truncated one among them: a mask of each good one, none of the bad, and an exit code."""
    home, count, bad = bench.folder / "batch" / "in", 8, 3
    home.mkdir(parents=True)
    scans = [home / f"scan{n}.nii.gz" for n in range(count)]
    for n, path in enumerate(scans):
        voxels = np.random.default_rng(n).integers(0, 900, (16, 16, 4)).astype("<i2")
        content = gzip.compress(odd_files.nifti(voxels))
        path.write_bytes(content[: len(content) // 2] if n == bad else content)
    code, masks, _ = predict(home, bench.folder / "batch" / "ours", bench.model)
    ended = {"ours": (code, [path.name for path in scans if str(path) in masks])}
    for tool, segment in {"SimpleITK": segment_itk, "MONAI": None}.items():
        folder = bench.folder / "batch" / tool
        (outcome,) = each(partial(_all, bench, segment, folder), [scans])
        ended[tool] = (int(outcome[0] != "done"), sorted(path.name for path in folder.glob("*")))
    cells = {}
    for tool, (code, made) in ended.items():
        cells[tool] = Cell()
        for n, path in enumerate(scans):
            cells[tool].add(path.name, (path.name in made) != (n == bad), "no mask" if n != bad else "a mask")
        cells[tool].add("exit code", code != 0, str(code))
    return [(f"a bad scan among {count}: the others' masks, none of it, exit code not 0", cells)]


def _all(bench: Bench, segment: Any, folder: Path, scans: Sequence[Path]) -> tuple[str, str]:
    """The loop that one would write: it ends at the first exception."""
    folder.mkdir()
    try:
        if segment is not None:
            for path in scans:
                segment(path, folder / path.name, bench.stock.network)
        else:
            load = Compose([*bench.stock.load.transforms, *bench.stock.prepare.transforms])
            for path, item in zip(scans, DataLoader(Dataset([{"image": str(p)} for p in scans], load)), strict=True):
                labels = bench.stock.inferer(item["image"], bench.stock.network).argmax(1)
                (folder / path.name).write_bytes(labels.numpy().tobytes())
    except Exception as error:
        return verdict(error, folder, own=False)
    return "done", ""


# all


def kills(bench: Bench) -> list[Row]:
    cells = {tool: Cell() for tool in ("MONAI", "ours")}
    unlinked = {"ours": Cell()}
    safe: dict[str, Counter[str]] = {tool: Counter() for tool in cells}
    for tool, kind, name, lost in killed_savers(bench.folder / "kills", bench.few(100, 4)):
        (unlinked if kind == NO_LINKS else cells)[tool].add(f"{kind}, {name}", not lost, lost)
        safe[tool][kind] += not lost
    cells["MONAI"].note = ", ".join(f"{kind} {n}" for kind, n in safe["MONAI"].items())
    return [
        ("killed while saving: a whole checkpoint is there, none that was done is lost", cells),
        ("the same on a file system without hard links", unlinked),
    ]


def trainings(bench: Bench) -> list[Row]:
    if bench.short:
        return []
    rows: dict[str, dict[str, Cell]] = {}
    for row, tool, name, well, how in stopped_trainings(bench.folder / "trainings", ROOT):
        cell = rows.setdefault(row, {}).setdefault(tool, Cell())
        cell.add(name, well, how)
        if how and well:  # seconds, say
            cell.note = ", ".join(filter(None, (cell.note, how)))
    return list(rows.items())


def main() -> None:
    parts = [files, pictures, series, damage, headers, kills, orders, pairs, batch, trainings]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/reliability"), help="for the JSON and the table")
    parser.add_argument("--short", action="store_true", help="fewer of everything, and no trainings")
    parser.add_argument("--only", nargs="+", choices=[part.__name__ for part in parts], help="some of the parts")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)  # a forked process has only the thread that forked
    on = machine("cpu")
    print(on)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="reliability") as name:
        torch.manual_seed(0)
        model = Path(name) / "models" / "model.pt"
        weights.save(model, ResidualGenerator(1, 4, filters=FILTERS).state_dict())
        model.with_suffix(".json").write_text(json.dumps({"filters": FILTERS, "image_size": [SIZE, SIZE]}))
        bench = Bench(Path(name), given.short, model, Stock(model, SIZE, FILTERS, "cpu"))
        for part in parts:
            if given.only is None or part.__name__ in given.only:
                since = time.monotonic()
                rows += part(bench)
                print(f"{part.__name__}: {time.monotonic() - since:.0f} s", file=sys.stderr, flush=True)
    write(given.out, rows, on)


def write(folder: Path, rows: Sequence[Row], on: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = [{"row": row} | {tool: cell.as_json() for tool, cell in cells.items()} for row, cells in rows]
    (folder / "reliability.json").write_text(json.dumps({"machine": on, "rows": content}, indent=1) + "\n")
    lines = [[one["row"], *(_words(one.get(tool)) for tool in TOOLS)] for one in content]
    text = table(["cases that end well, of all", *TOOLS], lines)
    (folder / "reliability.md").write_text(f"{on}\n\n{text}\n")
    print(text)
    for one in content:
        failures = [] if one["row"].startswith("-") or "ours" not in one else list(one["ours"]["failures"].items())
        for case, how in failures[:PRINTED]:
            print(ascii(f"ours, {one['row']}: {case}: {how}")[1:-1][:300])
        if len(failures) > PRINTED:
            print(f"... and {len(failures) - PRINTED} more in {folder / 'reliability.json'}")


def _words(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return "—"
    return f"{cell['good']}/{cell['of']}" + (f" ({cell['note']})" if cell["note"] else "")


if __name__ == "__main__":
    main()
