"""Whose a scan is and what of the heart it shows: linked folders, sites that number alike, single slices."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import odd_files
import odd_series
from odd_files import File
from readers import each, judge, read_ours, read_series_itk, verdict

from acdc_semicycle.datasets import phantom
from reliability_rows.bench import Bench, Cell, Row, predict, semicycle

INDICES = ("lv_edv_ml", "lv_esv_ml", "lv_ef_percent", "myo_mass_g")

# linked folders


def linked(bench: Bench) -> list[Row]:
    """Half of an ACDC tree's patients are links; others lead up, in a circle and twice to one folder."""
    root, cell = bench.folder / "linked" / "in", Cell()
    phantom.write(bench.folder / "linked" / "store", patients=4, size=(32, 32, 6))
    store = bench.folder / "linked" / "store" / "training"
    (root / "training").mkdir(parents=True)
    for n, patient in enumerate(sorted(store.iterdir())):
        if n < 2:
            shutil.move(patient, root / "training")
        else:
            (root / "training" / patient.name).symlink_to(patient)
    (root / "training" / "again").symlink_to(store)
    (root / "training" / "up").symlink_to("..")
    (store / "circle").symlink_to(store)
    out = bench.folder / "linked" / "out"
    code, masks, said = predict(root, out, bench.model)
    names = sorted(Path(scan).name for scan in masks)
    for n in range(1, 5):
        frames = [name for name in names if name.startswith(f"patient{n:03d}_frame")]
        cell.add(f"patient {n} is segmented once", len(frames) == 2, f"{frames} {said}")
    cell.add("exit code of predict", code == 0, str(code))
    done = semicycle("evaluate", "--pred", out, "--truth", root)
    scored = {case["case"] for case in _json(out / "evaluation.json").get("cases", [])}
    cell.add("all 8 are scored", done.returncode == 0 and len(scored) == 8, done.stderr[-200:])
    done = semicycle("check", root)
    cell.add("all 4 patients are checked", "4 patients" in done.stdout, done.stdout[:200])
    spoilt = next(store.rglob("*_frame01_gt.nii.gz"))
    spoilt.write_bytes(spoilt.read_bytes()[:-200])
    done = semicycle("check", root)
    cell.add("a fault in the linked folder", done.returncode == 1 and spoilt.name in done.stdout, done.stdout[:200])
    return [("half of the patients' folders linked: each is segmented, scored and checked once", {"ours": cell})]


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


# two sites

A, B = "siteA/patient001/patient001_", "siteB/patient001/patient001_"
LAYOUTS: dict[str, dict[str, str]] = {  # the files, and the patient who has indices of both phases, if any, of each
    "two frames and one": {f"{A}frame01": "siteA", f"{A}frame10": "siteA", f"{B}frame01": ""},
    "two frames each": {f"{A}frame01": "siteA", f"{A}frame10": "siteA", f"{B}frame01": "siteB", f"{B}frame10": "siteB"},
    "one frame each": {f"{A}frame01": "", f"{B}frame10": ""},
    "the same frame each": {f"{A}frame01": "", f"{B}frame01": ""},
    "by names, one and two": {"siteA/001_ED": "", "siteB/001_ED": "siteB", "siteB/001_ES": "siteB"},
    "by names, one each": {"siteA/001_ED": "", "siteB/001_ES": ""},
    "at the top, and below": {"001_ED": "", "001_ES": "", "siteB/001_ES": ""},
    "three sites": {"a/001_ED": "a", "a/001_ES": "a", "b/001_ED": "b", "b/001_ES": "b", "c/001_ED": ""},
}


def sites(bench: Bench) -> list[Row]:
    """Stock MONAI writes each scan's mask under its name in one folder; it has no indices to be mixed."""
    cells = {tool: Cell() for tool in ("MONAI", "ours")}
    for n, (name, files) in enumerate(LAYOUTS.items()):
        root = bench.folder / "sites" / str(n)
        scans = [_scan(root / f"{file}.nii.gz", seed) for seed, file in enumerate(files)]
        _, masks, _ = predict(root, root.with_name(f"{n} ours"), bench.model)
        wrong = "" if len(masks) == len(scans) else f"{len(masks)} masks of {len(scans)} scans"
        cells["ours"].add(name, not (wrong or _mixed(root.with_name(f"{n} ours"), files)), wrong or "two are mixed")
        bench.stock(scans, root.with_name(f"{n} MONAI"))
        made = len(list(root.with_name(f"{n} MONAI").rglob("*.nii.gz")))
        cells["MONAI"].add(name, made == len(scans), f"{made} masks of {len(scans)} scans")
    return [("two sites with the same patient numbers: a mask of each scan, no index of two people", cells)]


def _scan(path: Path, seed: int) -> Path:
    """A scan of noise, beside an Info.cfg in ACDC's layout."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.random.default_rng(seed).integers(0, 900, (20, 20, 5)).astype("<i2")
    path.write_bytes(gzip.compress(odd_files.nifti(voxels)))
    if path.parent.name.startswith("patient"):
        (path.parent / "Info.cfg").write_text("ED: 1\nES: 10\n", encoding="utf-8")
    return path


def _mixed(out: Path, files: Mapping[str, str]) -> bool:
    """Whether any row of indices is of scans of two folders."""
    for row in _json(out / "predictions.json")["patients"]:
        folders = {Path(row[phase]).parent for phase in ("ed", "es")}
        if len(folders) > 1 and any(row[index] is not None for index in INDICES):
            return True
    return False


# single slices


def single_slices(bench: Bench) -> list[Row]:
    """Series of one slice each: those one behind the other are one scan, any other is no heart."""
    home = bench.folder / "slices"
    files = _one_behind_the_other(home / "stacked")
    reading = {"SimpleITK": Cell(), "ours": Cell()}
    for tool, read in (("SimpleITK", read_series_itk), ("ours", read_ours)):
        for file, (outcome, text) in zip(files, each(partial(_read, read), files), strict=True):
            reading[tool].add(file.path.name, outcome == "right", f"{outcome}: {text}")
    alone = Cell()
    singles = _no_hearts(home / "in")
    predict(home / "in", home / "out", bench.model)
    content = _json(home / "out" / "predictions.json")
    cases = {case["case"]: case for case in content.get("cases", [])}
    for name in singles:
        of_name = [case for case in cases.values() if Path(case["case"]).parts[0] == name]
        given = [case["case"] for case in of_name if case["volumes_ml"] or not case["withheld"]]
        alone.add(f"{name}: no volume", bool(of_name) and not given, f"{given or 'no mask'}")
    for row in content.get("patients", []):
        given = [index for index in INDICES if row[index] is not None]
        alone.add(f"{row['patient']}: no index", not given, f"{given}")
    return [
        ("a short axis in series of one slice each: read as one volume", reading),
        ("single slices and cines of one: a mask, without volumes and indices", {"ours": alone}),
    ]


def _read(read: Any, file: File) -> tuple[str, str]:
    try:
        wrong = judge(read(file.path), file)
    except Exception as error:
        return verdict(error, file.path, own=False)
    return ("wrong", wrong) if wrong else ("right", "")


def _one_behind_the_other(home: Path) -> list[File]:
    """Series of one slice each in one folder, in several ways."""
    study = {"t0020000d": ("UI", "1.2.7")}
    tilted = {"affine": odd_series.TILTED}
    ways: dict[str, tuple[list[int], dict[str, Any]]] = {
        "in order": ([0, 1, 2, 3], {}),
        "numbered backwards": ([3, 2, 1, 0], {}),
        "in no order": ([2, 0, 3, 1], {}),
        "all of one number": ([0, 1, 2, 3], {"t00200011": ("IS", "3")}),
        "without a number": ([0, 1, 2, 3], {"t00200011": None}),
        "implicit": ([0, 1, 2, 3], {"syntax": odd_series.IMPLICIT}),
        "big endian": ([0, 1, 2, 3], {"syntax": odd_series.BIG}),
        "oblique": ([0, 1, 2, 3], tilted),
    }
    files = []
    for name, (order, more) in ways.items():
        folder = home / name.replace(" ", "_")
        folder.mkdir(parents=True)
        affine = more.get("affine", odd_files.PLACE)
        for number, k in enumerate(order, 3):
            of_slice = {"t0020000e": ("UI", f"1.2.3.{number}"), "t00200011": ("IS", str(number))} | study | more
            if affine is odd_series.TILTED:
                of_slice |= odd_series.thousandths(k, affine)
            (folder / f"IM{number}").write_bytes(odd_series.image(k, **of_slice))
        files.append(File(folder, "slices", True, affine=affine))
    return files


def _no_hearts(home: Path) -> list[str]:
    """Scans of one slice, each below a folder of its name."""
    voxels = np.random.default_rng(0).integers(0, 900, (20, 20, 1, 3)).astype("<i2")
    contents = {
        "one slice": voxels[..., 0],
        "a cine of one slice": voxels,
        "one slice in a plane": voxels[:, :, 0, 0],
        "sagittal": voxels[..., 0].transpose(2, 0, 1),
    }
    for name, content in contents.items():
        path = home / name / "scan.nii.gz"
        path.parent.mkdir(parents=True)
        path.write_bytes(gzip.compress(odd_files.nifti(np.ascontiguousarray(content))))
    patient = home / "patient007"
    for frame in (1, 10):
        _scan(patient / f"patient007_frame{frame:02d}.nii.gz", frame)
        odd = patient / f"patient007_frame{frame:02d}.nii.gz"
        odd.write_bytes(gzip.compress(odd_files.nifti(voxels[..., 0] + frame)))
    apart = {
        "two studies": ("t0020000d", ["1.2.7", "1.2.8"]),
        "two frames of reference": ("t00200052", ["1.2.7", "1.2.8"]),
        "of no known study": ("t0020000d", [None, None]),
    }
    for name, (tag, uids) in apart.items():
        (home / name).mkdir()
        for k, uid in enumerate(uids):
            more = {"t0020000d": ("UI", "1.2.7"), tag: uid and ("UI", uid), "t0020000e": ("UI", f"1.2.3.{k}")}
            (home / name / f"IM{k}").write_bytes(odd_series.image(k, **more))
    return [*contents, *apart, "patient007"]
