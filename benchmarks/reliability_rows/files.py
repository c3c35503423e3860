"""Odd and bad files, pictures and series: read, and segmented."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import odd_files
import odd_pictures
import odd_series
import SimpleITK as sitk
from monai.transforms import LoadImage
from numpy.typing import NDArray
from odd_files import File
from readers import TOOLS, Read, each, judge, read_ours, read_series_itk, stored, verdict, wrong_grid

from acdc_semicycle.imageio.pictures import intensities, read_picture
from reliability_rows.bench import Bench, Cell, Row, predict


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
        rows.append((f"- {words}", _some(reading, names)))
    return [*rows, ("odd and bad files, file to mask on its own grid", whole)]


def _some(cells: Mapping[str, Cell], names: Collection[str]) -> dict[str, Cell]:
    """The cases of these names."""
    result = {}
    for tool, cell in cells.items():
        result[tool] = Cell({name: outcome for name, outcome in cell.outcomes.items() if name in names})
    return result


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
    cut = {file.path.name for file in found if file.path.name.startswith("JPEG_cut")}
    return [
        ("odd and bad DICOM series read right, or refused", reading),
        ("- JPEG data that are cut before the end marker: refused", _some(reading, cut)),
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
    short = {picture.path.name for picture in found if picture.path.name.startswith("half the rows")}
    return [
        ("odd and bad pictures read right, or refused", cells),
        ("- PNG whose whole stream holds too few rows: refused", _some(cells, short)),
    ]


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
