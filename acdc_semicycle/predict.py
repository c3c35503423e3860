"""Segment new scans and pictures: files in, label maps on their own grids out."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from ignite.handlers import ProgressBar
from monai.config import KeysCollection
from monai.engines import SupervisedEvaluator
from monai.transforms import MapTransform
from PIL import Image, PngImagePlugin
from torch import nn
from tqdm import tqdm

from acdc_semicycle.checkpoints import load_network
from acdc_semicycle.data.records import MASK_ENDINGS, PICTURES, SCANS
from acdc_semicycle.data.transforms import DAMAGE, check_range, check_volume, intensities, is_picture, read_picture
from acdc_semicycle.errors import InputError

log = logging.getLogger("semicycle")

CARD: dict[str, Any] = {
    "filters": 64,
    "blocks": 9,
    "dropout": 0.0,
    "in_channels": 1,
    "image_size": [200, 200],
}  # the paper's
CARD |= {"intensity_range": None, "pictures": False, "colours": None}
CLASSES = ["background", "RV", "MYO", "LV"]
MARK = b"acdc_semicycle label map"  # in the header of what is written here
GEOMETRY = ["qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"]
GEOMETRY += ["qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"]


def newest_model(bundle_root: str | Path, runs: str | Path = "runs") -> Path:
    """The model.pt that a training run below ``runs`` wrote last; the bundle's own where there is none.

    A network trained on the phantom comes after all others.
    """
    models = Path(runs).glob("**/models/model.pt")
    found = sorted(models, key=lambda path: (card(path).get("dataset") != "phantom", path.stat().st_mtime))
    return found[-1] if found else Path(bundle_root) / "models" / "model.pt"


def card(checkpoint: str | Path) -> dict[str, Any]:
    """What it takes to use a checkpoint, from the model.json beside it; the paper's where there is none."""
    path = Path(str(checkpoint)).with_suffix(".json")
    try:
        return CARD | {"classes": CLASSES} | (json.loads(path.read_text()) if path.is_file() else {})
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error}): restore it, or train again") from error


def check_network(checkpoint: str | Path) -> None:
    """Refuse a checkpoint that is not there, before anything else is found wrong because of it."""
    path = Path(str(checkpoint))
    if not path.is_file():
        below = [found for part in ("models/model.pt", "model.pt") if (found := path / part).is_file()]
        hint = f"did you mean {below[0]}?" if below else "train first, or give a training run's models/model.pt"
        raise InputError(f"{path} is not a file, and the network is read from it: {hint}")


def stem(path: Path) -> str:
    """The file's name without .nii.gz or whatever it ends in, in whatever case."""
    suffix = next(suffix for suffix in reversed(SCANS + PICTURES) if path.name.lower().endswith(suffix))
    return path.name[: -len(suffix)]


class Scans:
    """The scans, or the pictures, below a path, the unusable ones set apart.

    A folder is searched with its subfolders. Masks beside their image (``X_gt``, ``_seg``, ``_mask``, ``_label``), and
    the cine (``_4d``) of an ACDC patient's folder, are left alone.

    Args:
        source: a .nii or .nii.gz file, or a folder of them; pictures for a network of pictures.
        folder: where the label maps go; if it lies below ``source``, it is not searched.
        card: of the network: whether it takes pictures, and the names and colours of its classes.

    Raises:
        InputError: nothing there, or no file that can be used.
    """

    def __init__(self, source: str | Path | None, folder: str | Path, card: Mapping[str, Any] = CARD) -> None:
        self.card, suffixes = card, PICTURES if card["pictures"] else SCANS
        kinds = " or ".join((", ".join(suffixes[:-1]), suffixes[-1]))
        if source is None:
            raise InputError("no input is given: give a scan or a folder of scans (--input SCAN.nii.gz)")
        path = Path(str(source))
        if not path.exists():
            raise InputError(f"{path} is not there: give a {kinds} file, or a folder of them, as input")
        self.root = path if path.is_dir() else path.parent
        self.folder = Path(str(folder))
        self.good: list[dict[str, str]] = []
        self.bad: list[str] = []
        found = _files(path, self.folder, suffixes) if path.is_dir() else [path]
        if not found:
            raise InputError(f"{path} holds no {kinds} file: give a folder of them as input")
        if card["pictures"]:
            _check_target(self.legend)
        taken: dict[Path, Path] = {}
        for scan in tqdm(found, "checking", disable=None):
            try:
                if not scan.name.lower().endswith(suffixes):
                    raise InputError(f"{scan} is none of what this network was trained on: give {kinds}")
                _check(scan, card)
                other = taken.setdefault(self.target(scan), scan)
                if other != scan:
                    raise InputError(f"{scan} and {other} have one name: rename one, or segment them one at a time")
                _check_target(self.target(scan))
                self.good.append({"image": str(scan)})
            except InputError as error:
                self.bad.append(str(error))
        if not self.good:
            raise InputError(self.bad[0] + (f" (and {len(self.bad) - 1} more)" if self.bad[1:] else ""))

    @property
    def legend(self) -> Path:
        """Where the legend of label maps of pictures goes."""
        return self.folder / "legend.png"

    def target(self, scan: Path) -> Path:
        """Where the label map of ``scan`` goes: the same subfolder, ``_seg`` behind the name."""
        name = f"{stem(scan)}_seg{'.png' if is_picture(scan) else '.nii.gz'}"
        return self.folder / scan.parent.relative_to(self.root) / name


def _check(scan: Path, card: Mapping[str, Any]) -> None:
    """Refuse a file that is damaged or that the network does not know what to make of."""
    if card["pictures"]:
        pixels = intensities(scan, read_picture(scan), card["in_channels"])
        check_range(scan, pixels, card["intensity_range"])
    else:
        check_volume(scan)
        if card["intensity_range"] is not None:
            check_range(scan, np.asarray(nibabel.load(scan).dataobj), card["intensity_range"])  # type: ignore[attr-defined]


def _ours(path: Path) -> bool:
    """Whether a file was written here."""
    try:
        if is_picture(path):
            with Image.open(path) as picture:
                return picture.info.get("Software") == MARK.decode()
        header: Any = nibabel.load(path).header
        return bytes(header["descrip"]).rstrip(b"\0") == MARK
    except (*DAMAGE, KeyError, SyntaxError):
        return False


def _check_target(target: Path) -> None:
    """Refuse to write over a file that is not a label map of ours."""
    if target.exists() and not _ours(target):
        raise InputError(f"{target} is there and was not written by this program: give another output_dir")


def _files(root: Path, output: Path, suffixes: tuple[str, ...]) -> list[Path]:
    files = sorted(p for p in root.rglob("[!.]*") if p.name.lower().endswith(suffixes) and p.is_file())
    if output.resolve() != root.resolve():
        files = [path for path in files if not path.resolve().is_relative_to(output.resolve())]
    stems = {(p.parent, stem(p)) for p in files}

    def is_scan(path: Path) -> bool:
        name = stem(path)
        if name == "legend" and _ours(path):
            return False
        derived = any(name.endswith(end) and (path.parent, name[: -len(end)]) in stems for end in MASK_ENDINGS)
        return not derived and not (name.endswith("_4d") and (path.parent / "Info.cfg").is_file())

    return [path for path in files if is_scan(path)]


def save_picture_map(labels: np.ndarray, target: Path, card: Mapping[str, Any]) -> None:
    """Write class indices [H, W] as a PNG whose palette has the classes' colours; it appears whole or not at all."""
    from acdc_semicycle.figures import colours_of  # matplotlib: only where something is drawn

    picture = Image.fromarray(labels.astype(np.uint8)).convert("P")
    picture.putpalette((colours_of(len(card["classes"]), card["colours"]) * 255).round().astype(np.uint8).tobytes())
    mark = PngImagePlugin.PngInfo()
    mark.add_text("Software", MARK.decode())
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".part-{os.getpid()}-{target.name}")
    picture.save(beside, "png", pnginfo=mark)
    beside.replace(target)


def save_legend(target: Path, card: Mapping[str, Any]) -> None:
    """A picture of the numbers, names and colours of the classes."""
    from acdc_semicycle.figures import legend_figure

    figure = legend_figure(card["classes"], card["colours"])
    figure.savefig(target, dpi=110, metadata={"Software": MARK.decode()})


def save_label_map(labels: np.ndarray, scan: Path, target: Path) -> None:
    """Write class indices [H, W, slices] with the geometry of ``scan`` and nothing else of its header.

    The file appears whole or not at all.
    """
    source: Any = nibabel.load(scan)
    if labels.shape != source.shape:
        raise ValueError(f"a label map of shape {labels.shape} for {scan} of shape {source.shape}")
    header = nibabel.Nifti1Header()
    header.set_data_shape(labels.shape)
    header["descrip"] = MARK
    if isinstance(source.header, nibabel.Nifti1Header):  # NIfTI-2's is one, too
        for field in GEOMETRY:  # as they are: to compute them anew fails where one of them is odd
            header[field] = source.header[field]
        header["pixdim"][:4] = source.header["pixdim"][:4]
        unit = int(source.header["xyzt_units"]) & 7
        header["xyzt_units"] = unit if unit in (1, 2, 3) else 0
    image = nibabel.Nifti1Image(labels.astype(np.uint8), source.affine, header)
    image.header.set_data_dtype(np.uint8)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".part-{os.getpid()}-{target.name}")
    nibabel.save(image, beside)
    beside.replace(target)


class WriteLabelMapd(MapTransform):
    """Write predictions [1, H, W, slices] as label maps beside nothing but their own name.

    Args:
        keys: the predictions, class indices on the scan's own grid.
        scans: says where each goes.
    """

    def __init__(self, keys: KeysCollection, scans: Scans) -> None:
        super().__init__(keys)
        self.scans = scans

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        for key in self.key_iterator(data):
            scan = Path(data["image"].meta["filename_or_obj"])
            target = self.scans.target(scan)
            labels = data[key].as_tensor()[0].cpu().numpy()
            if is_picture(scan):
                save_picture_map(labels[..., 0], target, self.scans.card)
            else:
                save_label_map(labels, scan, target)
            log.info("%s -> %s", scan, target)
        return dict(data)


def run(evaluator: SupervisedEvaluator, network: nn.Module, checkpoint: str | Path, scans: Scans) -> None:
    """Segment every usable scan; the unusable ones are named at the end, and make the exit code 1."""
    load_network(network, checkpoint)
    log.info("%d images, network %s", len(scans.good), checkpoint)
    if card(checkpoint).get("dataset") == "phantom":
        log.warning("this network was trained on the phantom: what it makes of a real scan means nothing")
    if sys.stderr.isatty():
        ProgressBar(desc="predicting").attach(evaluator)
    evaluator.run()
    if scans.card["pictures"]:
        save_legend(scans.legend, scans.card)
    if scans.bad:
        summary: Sequence[str] = scans.bad
        raise InputError(
            f"{len(summary)} of {len(summary) + len(scans.good)} files left out:\n  " + "\n  ".join(summary)
        )
