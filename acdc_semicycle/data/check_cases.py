"""What is wrong with the images of a data set and their masks, one case after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from acdc_semicycle.data import check_values
from acdc_semicycle.data.check_findings import Counts, Finding, Rules
from acdc_semicycle.data.labels import IN_MENDED, CheckLabeld, UnknownValues
from acdc_semicycle.data.transforms import LoadCheckedd, check_range
from acdc_semicycle.datasets import acdc
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.checks import in_words
from acdc_semicycle.imageio.geometry import geometry
from acdc_semicycle.imageio.intensities import constancy
from acdc_semicycle.imageio.pictures import IGNORED, is_picture
from acdc_semicycle.runtime.errors import InputError

Digest = tuple[Any, ...]  # of voxels: their type, their shape and a hash
Oddities = list[tuple[str, str]]  # severity and text


class Cases:
    """Finds what is wrong with one case after the other, and keeps what later ones are compared with.

    Attributes:
        findings: what was found, each once.
        unmatched: whether it is unknown which files belong together; then they are only read.
    """

    def __init__(self, rules: Rules, counts: Counts) -> None:
        self.rules, self.counts = rules, counts
        self.findings: dict[Finding, None] = {}
        self.unmatched = False
        self._classes_known = bool(rules.classes or rules.values)
        count, values = len(rules.classes or range(IGNORED)), rules.values
        if not self._classes_known:
            values = {value: value for value in range(256)}  # all values of a byte
        self._check_values = CheckLabeld("label", count, values, image_key="label")  # on its own grid: values only
        self._check_pair = CheckLabeld("label", count, values)
        self._first_of: dict[Digest, tuple[Record, Path]] = {}
        self._mask_digests: dict[str, Digest] = {}  # by case
        self._twin_patients: set[tuple[str, str]] = set()
        self._grids: dict[Path, tuple[Path, Any, Any]] = {}
        self._hearts: dict[str, NDArray] = {}  # the last patient's mask
        self._drawn: dict[int, Path] = {}  # the classes that occur, each with a mask
        self._unknown: dict[
            str, dict[Path, UnknownValues]
        ] = {}  # masks whose values are no classes, by what they expect

    def add(self, severity: str, path: Path, text: str) -> None:
        """Keep a finding."""
        self.findings[Finding(severity, path, text)] = None

    def fault(self, path: Path, error: Exception) -> None:
        """Keep an error as a fault."""
        if isinstance(error, UnknownValues):
            self._unknown.setdefault(error.expected, {})[path] = error
        elif isinstance(error, InputError):
            self.add("fault", path, str(error))
        else:
            reason = getattr(error, "strerror", None) or error
            self.add("fault", path, f"{path} cannot be read ({reason}): make it readable")

    def attempt(self, path: Path, action: Callable[..., Any], *arguments: Any) -> Any:
        """The result of an action, or None where it finds a fault in the file."""
        try:
            return action(*arguments)
        except (InputError, OSError) as error:
            self.fault(path, error)
            return None

    def check(self, record: Record) -> None:
        """Read a case and compare it, with itself and with those before."""
        loaded = self._load(record)
        if self.unmatched:
            return
        oddities: Oddities = []
        twin = labels = None
        if "image" in loaded:
            oddities, twin = self._check_image(record, loaded["image"])
        if record.label and "label" in loaded:
            labels = self._check_mask(record, record.label, loaded, oddities, twin is not None)
        if twin:
            self._add_twin(record, *twin)
        if self.counts.fingerprint is not None and "image" in loaded:
            self.counts.fingerprint.add(record, loaded["image"], labels, twin and twin[0])

    def finish(self) -> None:
        """Find what only all masks together tell."""
        classes = None if self.rules.values or not self.rules.classes else len(self.rules.classes)
        for expected, masks in self._unknown.items():
            known_classes = None if expected.endswith(IN_MENDED) else classes
            for path, text in check_values.texts(masks, self._drawn, known_classes):
                self.add("fault", path, text)
        self._check_classes()

    def _check_classes(self) -> None:
        """Find classes that occur in no mask and so cannot be learnt."""
        if not (self.rules.own and self._drawn):
            return
        folder = next(iter(self._drawn.values())).parent
        for label, name in enumerate(self.rules.classes or ()):
            if label not in self._drawn:
                text = f"{folder}: no mask holds class {label}, {name}: check classes, mask_values and the masks"
                self.add("warning", folder, text)

    def _load(self, record: Record) -> dict[Any, Any]:
        """The image and its mask as a training reads them; if one is damaged, the other alone."""
        about: dict[Hashable, Any] = {} if record.frame is None else {"frame": record.frame}
        if record.mended is not None:
            about["mended"] = record.mended
        files: dict[Hashable, Any] = {"image": record.image}
        if record.label:
            files["label"] = record.label
        channels = self.rules.channels or (3 if is_picture(record.image) else 1)
        try:
            return LoadCheckedd(tuple(files), channels, self.rules.colours)({**files, **about})
        except (InputError, OSError):
            return self._load_apart(files, about, channels)

    def _load_apart(self, files: dict[Hashable, Any], about: dict[Hashable, Any], channels: int) -> dict[Any, Any]:
        """Those of an image and its mask that can be read by themselves; report the other."""
        loaded: dict[Any, Any] = {}
        for key, path in files.items():
            load = LoadCheckedd(key, channels, self.rules.colours)
            if self.attempt(path, _can_open, path):
                loaded |= self.attempt(path, load, {key: path, **about}) or {}
        return loaded

    def _check_image(self, record: Record, image: Any) -> tuple[Oddities, tuple[Record, Path] | None]:
        """Check an image; return what is odd about its header, and its twin, an earlier image of the same voxels."""
        path = record.image
        self.attempt(path, check_range, path, image, self.rules.intensity_range)
        spacing, oddities = self._check_image_header(path, image)
        twin = None
        constant = constancy(image.as_tensor().numpy())
        if constant:
            self.add("warning", path, f"{_named(record, path)} is {constant}: it shows nothing")
        else:
            twin = self._twin(record, path, _digest(image))
        if record.phase and spacing is not None and not twin:
            self._compare_frames(path, tuple(image.shape[1:]), spacing)
        return oddities, twin

    def _check_image_header(self, path: Path, image: Any) -> tuple[Any, Oddities]:
        """The spacing of a scan, None where there is none, as of a picture; report what is odd about its header."""
        if is_picture(path):
            return None, []
        spacing, oddities = geometry(path, image.affine.numpy())
        for severity, text in oddities:
            self.add(severity, path, f"{path} {text}")
        if spacing is not None:
            self.counts.scans += 1
            self.counts.lost += bool(np.allclose(spacing, 1, atol=1e-6))
        return spacing, oddities

    def _add_twin(self, record: Record, other: Record, other_path: Path) -> None:
        """Report one image under two names; with two different masks it may be intended, and is a warning only."""
        text = f"{_named(record, record.image)} has the same voxels as {_named(other, other_path)} of"
        if other.patient == record.patient:
            self.add("warning", record.image, f"{text} the same patient: one may be a copy by mistake")
            return
        masks = {self._mask_digests.get(record.case), self._mask_digests.get(other.case)}
        pair = (other.patient, record.patient)
        if None in masks or len(masks) == 1:
            self.add("fault", record.image, f"{text} another patient: keep one")
        elif pair not in self._twin_patients:
            self._twin_patients.add(pair)
            text += " another patient, and another mask: a split can put them on both sides, keep one of the patients"
            self.add("warning", record.image, text)

    def _compare_frames(self, path: Path, shape: tuple[int, ...], spacing: Any) -> None:
        """Find frames of one patient whose grids differ, which cannot come from one cine."""
        other, other_shape, other_spacing = self._grids.setdefault(path.parent, (path, shape, spacing))
        if other_shape != shape or not np.allclose(other_spacing, spacing, rtol=1e-3):
            text = f"{path} is {in_words(shape)} voxels of {in_words(spacing)} mm, {other.name} of the same patient"
            text += f" {in_words(other_shape)} of {in_words(other_spacing)} mm: they should be frames of one cine"
            self.add("warning", path, text)

    def _check_mask(self, record: Record, path: Path, loaded: dict[Any, Any], oddities: Oddities, copied: bool) -> Any:
        """Check a mask by itself and on its image, which has a twin if ``copied``; its classes, if they are any."""
        self._check_mask_header(path, loaded["label"], oddities, record.mended is not None)
        fits = "image" in loaded and self._check_on_image(record, path, loaded)
        checked = self.attempt(path, self._check_values, {"label": loaded["label"]})
        if checked is None:
            return None
        labels = checked["label"]
        self._mask_digests[record.case] = _digest(labels)
        values = set(np.flatnonzero(np.bincount(labels.as_tensor().numpy().ravel())).tolist())
        self._count(path, values)
        if self._is_empty(values):
            self.add("warning", path, f"{path} is empty: nothing is drawn in it, check that this is meant")
            return labels
        if IGNORED not in values or not self._classes_known:  # what is not annotated may hold them
            self._find_missing_structures(path, values)
        if fits and self._shows_hearts() and IGNORED not in values:
            self._check_heart(record, path, labels.as_tensor()[0].numpy())
        self._find_copied_mask(record, path, copied)
        return labels

    def _check_mask_header(self, path: Path, label: Any, oddities: Oddities, mended: bool) -> None:
        """Report what is odd about a mask's header, unless its image's is odd in the same way."""
        if volumes.ours(path) and not mended:
            self.add("warning", path, f"{path} was made by semicycle predict: it is not a ground truth")
        if is_picture(path):
            return
        for oddity in geometry(path, label.affine.numpy())[1]:
            if oddity not in oddities:
                severity, text = oddity
                self.add(severity, path, f"{path} {text}")

    def _check_on_image(self, record: Record, path: Path, loaded: dict[Any, Any]) -> bool:
        """Whether a mask fits on its image; report if it does not, or if both have the same voxels."""
        fits = self.attempt(path, self._check_pair, loaded) is not None
        if torch.equal(loaded["image"].as_tensor(), loaded["label"].as_tensor()):
            text = f"{_named(record, record.image)} has its own mask's voxels: restore the image"
            self.add("fault", record.image, text)
        return fits

    def _count(self, path: Path, values: set[int]) -> None:
        """Note which values occur, and count their masks where no classes are given."""
        for value in values - self._drawn.keys():
            self._drawn[value] = path
        if not self._classes_known:
            self.counts.values.update(values)

    def _is_empty(self, values: set[int]) -> bool:
        """Whether a mask with these values shows nothing but background and ignored pixels."""
        nothing = set()
        if self._classes_known:
            nothing.add(IGNORED)
        if self.rules.background:
            nothing.add(0)
        return values <= nothing

    def _find_missing_structures(self, path: Path, values: set[int]) -> None:
        """Report structures that every volume should have and this one has not."""
        if self.rules.everywhere:
            for label, name in enumerate(self.rules.classes or ()):
                if label and label not in values:
                    self.add("warning", path, f"{path} has no {name} in any slice: check that this is meant")

    def _shows_hearts(self) -> bool:
        """Whether the masks are of hearts, with ACDC's classes."""
        return self.rules.everywhere and tuple(self.rules.classes or ()) == acdc.CLASSES

    def _find_copied_mask(self, record: Record, path: Path, copied: bool) -> None:
        """Report a mask with the voxels of an earlier one, unless its image is ``copied``, too."""
        twin = self._twin(record, path, self._mask_digests[record.case])
        if twin and not copied:
            text = f"{_named(record, path)} has the same voxels as {_named(*twin)}:"
            text += " make sure that neither is a copy by mistake"
            self.add("warning", path, text)

    def _check_heart(self, record: Record, path: Path, labels: NDArray) -> None:
        """Report what is unlikely in a heart's mask, also beside the other frame, if that was read before."""
        oddities = acdc.oddities(labels, self._hearts.get(record.patient))
        for text in oddities:
            self.add("warning", path, f"{path}: {text}")
        self._hearts = {} if oddities else {record.patient: labels}

    def _twin(self, record: Record, path: Path, digest: Digest) -> tuple[Record, Path] | None:
        """An earlier image, or mask, of the same voxels under another name."""
        first = self._first_of.setdefault(digest, (record, path))
        return None if first[0].case == record.case else first


def _named(record: Record, path: Path) -> str:
    """A file for a message, with the frame of a cine, counted from 1."""
    return str(path) if record.frame is None else f"{path} frame {record.frame + 1}"


def _digest(values: Any) -> Digest:
    """The type, the shape and a hash of voxels, which are equal for equal voxels only."""
    voxels = np.ascontiguousarray(values.as_tensor().numpy())
    return voxels.dtype, voxels.shape, hashlib.blake2b(voxels.data, digest_size=16).digest()


def _can_open(path: Path) -> bool:
    """True; raises the system's own error where the file cannot be opened, which readers would call damage."""
    with path.open("rb"):
        return True
