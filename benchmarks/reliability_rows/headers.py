"""Random bytes in a header: what is taken up has to be what the header says, or what it said before."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import odd_files
from numpy.typing import NDArray
from odd_files import File
from readers import TOOLS, Read, corners_apart, each, judge, verdict, wrong_grid
from scipy.spatial.transform import Rotation

from acdc_semicycle.imageio.nifti_geometry import IN_MM
from reliability_rows.bench import Bench, Cell, Row

AGREE_MM = 1.0  # qform and sform of one header
ABSURD_MM = (1e-4, 1e4, 1e6)  # the finest and the coarsest spacing, and the farthest corner, that a header may tell


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
