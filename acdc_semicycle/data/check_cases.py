"""What is wrong with the images of a data set and their masks, one case after the other."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from acdc_semicycle.data.transforms import CheckLabeld, LoadCheckedd, check_range
from acdc_semicycle.datasets import acdc
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.checks import in_words
from acdc_semicycle.imageio.geometry import geometry
from acdc_semicycle.imageio.pictures import IGNORED, is_picture
from acdc_semicycle.runtime.errors import InputError


@dataclass(frozen=True)
class Finding:
    """Something wrong: ``"fault"`` or ``"warning"``, the file, and a sentence that names it and says what to do."""

    severity: str
    path: Path
    text: str


@dataclass
class Counts:
    """What was looked at, for ``report``."""

    kind: str = "folder"
    patients: int = 0
    images: int = 0
    masks: int = 0
    alone: bool = False  # the layout is at fault: which file belongs to which is not known
    scans: int = 0  # images with a spacing
    lost: int = 0  # those of them where it is 1 x 1 x 1 mm
    values: Counter[int] = field(default_factory=Counter)  # in how many masks, where no classes are given


class Kind(NamedTuple):
    """How a training reads this kind of data set."""

    title: str
    classes: Sequence[str] | None = None
    colours: Sequence[Sequence[int]] | None = None
    values: Mapping[Any, Any] | None = None
    intensity_range: Sequence[int] | None = None
    background: bool = True  # is the first class
    everywhere: bool = False  # whether every structure is in every volume
    own: bool = False  # whether its owner names the classes


class Cases:
    """What is wrong with one case after the other, and what later ones are compared with."""

    def __init__(self, rules: Kind, counts: Counts) -> None:
        self.rules, self.counts = rules, counts
        self.found: dict[Finding, None] = {}  # each once
        self.alone = False  # files that belong to nothing: only read
        self.told = bool(rules.classes or rules.values)  # what masks may hold; else all that a byte can
        n, values = len(rules.classes or range(IGNORED)), rules.values if self.told else {k: k for k in range(256)}
        self.values = CheckLabeld("label", n, values, image_key="label")  # a grid of its own: values only
        self.pair = CheckLabeld("label", n, values)
        self.voxels: dict[tuple[Any, ...], tuple[Record, Path]] = {}
        self.drawn: dict[str, tuple[Any, ...]] = {}  # the masks' voxels, by case
        self.doubles: set[tuple[str, str]] = set()  # patients
        self.grids: dict[Path, tuple[Path, Any, Any]] = {}
        self.hearts: dict[str, NDArray] = {}  # the last patient's mask
        self.held: dict[int, Path] = {}  # the classes that are drawn, each with a mask

    def add(self, severity: str, path: Path, text: str) -> None:
        self.found[Finding(severity, path, text)] = None

    def fault(self, path: Path, error: Exception) -> None:
        reason = getattr(error, "strerror", None) or error
        text = str(error) if isinstance(error, InputError) else f"{path} cannot be read ({reason}): make it readable"
        self.add("fault", path, text)

    def attempt(self, path: Path, action: Callable[..., Any], *arguments: Any) -> Any:
        """What the action gives, or None where it finds a fault in the file."""
        try:
            return action(*arguments)
        except (InputError, OSError) as error:
            self.fault(path, error)
            return None

    def check(self, record: Record) -> None:
        """Read a case and compare it, with itself and with those before."""
        loaded = self._load(record)
        if self.alone:
            return
        said, twin = self._image(record, loaded["image"]) if "image" in loaded else ([], None)
        if record.label and "label" in loaded:
            if volumes.ours(record.label):
                self.add("warning", record.label, f"{record.label} was made by semicycle predict: it is no truth")
            self._mask(record, record.label, loaded, said, twin is not None)
        if twin:
            self._double(record, *twin)

    def check_classes(self) -> None:
        """Of all masks together: what is drawn in none of them cannot be learnt."""
        names = self.rules.classes or () if self.rules.own and self.held else ()
        for place, name in enumerate(names):
            if place not in self.held:
                path = next(iter(self.held.values()))
                text = f"{path.parent}: no mask holds class {place}, {name}: check classes, mask_values and the masks"
                self.add("warning", path.parent, text)

    def _load(self, record: Record) -> dict[Any, Any]:
        """The image and its mask as a training reads them; of a broken pair the one that can be read."""
        files: dict[Hashable, Any] = {"image": record.image, "label": record.label}
        files = {key: path for key, path in files.items() if path}
        channels = 3 if is_picture(record.image) else 1
        try:
            return LoadCheckedd(tuple(files), channels, self.rules.colours)(files)
        except (InputError, OSError):
            loaded: dict[Any, Any] = {}
            for key, path in files.items():
                load = LoadCheckedd(key, channels, self.rules.colours)
                if self.attempt(path, _opened, path):
                    loaded |= self.attempt(path, load, {key: path}) or {}
            return loaded

    def _image(self, record: Record, image: Any) -> tuple[list[tuple[str, str]], tuple[Record, Path] | None]:
        """What is wrong with an image; returned is what its header says, which its mask's need not repeat; its twin."""
        path = record.image
        self.attempt(path, check_range, path, image, self.rules.intensity_range)
        spacing, said = (None, []) if is_picture(path) else geometry(path, image.affine.numpy())
        for severity, text in said:
            self.add(severity, path, f"{path} {text}")
        if spacing is not None:
            self.counts.scans += 1
            self.counts.lost += bool(np.allclose(spacing, 1, atol=1e-6))
        twin = None
        if image.min() == image.max():
            self.add("warning", path, f"{path} is constant ({image.min():g} in every voxel): nothing is to be seen")
        else:
            twin = self._twin(record, path, _voxels(image))
        if record.phase and spacing is not None and not twin:
            self._other_frame(path, tuple(image.shape[1:]), spacing)
        return said, twin

    def _double(self, record: Record, other: Record, other_path: Path) -> None:
        """One image under two names: a scan that somebody drew twice is no mistake, and still one patient."""
        text = f"{record.image} has the same voxels as {other_path} of"
        if other.patient == record.patient:
            self.add("warning", record.image, f"{text} the same patient: one may be a copy by mistake")
            return
        masks = {self.drawn.get(record.case), self.drawn.get(other.case)}
        if None in masks or len(masks) == 1:
            self.add("fault", record.image, f"{text} another patient: keep one")
        elif (pair := (other.patient, record.patient)) not in self.doubles:
            self.doubles.add(pair)
            text += " another patient, and another mask: a split can put them on both sides, keep one of the patients"
            self.add("warning", record.image, text)

    def _other_frame(self, path: Path, shape: tuple[int, ...], spacing: Any) -> None:
        """The two frames of one patient come from one cine."""
        other, its_shape, its_spacing = self.grids.setdefault(path.parent, (path, shape, spacing))
        if its_shape != shape or not np.allclose(its_spacing, spacing, rtol=1e-3):
            text = f"{path} is {in_words(shape)} voxels of {in_words(spacing)} mm, {other.name} of the same patient"
            text += f" {in_words(its_shape)} of {in_words(its_spacing)} mm: they should be frames of one cine"
            self.add("warning", path, text)

    def _mask(
        self, record: Record, path: Path, loaded: dict[Any, Any], said: Sequence[tuple[str, str]], copied: bool
    ) -> None:
        """What is wrong with a mask, by itself and on its image."""
        for severity, text in [] if is_picture(path) else geometry(path, loaded["label"].affine.numpy())[1]:
            if (severity, text) not in said:
                self.add(severity, path, f"{path} {text}")
        fits = False
        if "image" in loaded:
            fits = self.attempt(path, self.pair, loaded) is not None
            if torch.equal(loaded["image"].as_tensor(), loaded["label"].as_tensor()):
                self.add("fault", record.image, f"{record.image} has its own mask's voxels: restore the image")
        drawn = self.attempt(path, self.values, {"label": loaded["label"]})
        if drawn is None:
            return
        voxels = self.drawn[record.case] = _voxels(drawn["label"])
        if self._lacks(path, set(np.flatnonzero(np.bincount(drawn["label"].as_tensor().numpy().ravel())).tolist())):
            return
        if fits and self.rules.everywhere and tuple(self.rules.classes or ()) == acdc.CLASSES:
            labels = drawn["label"].as_tensor()[0].numpy()
            other = self.hearts.get(record.patient)
            odd = acdc.oddities(labels, other)
            for text in odd:
                self.add("warning", path, f"{path}: {text}")
            self.hearts = {} if odd else {record.patient: labels}  # records are sorted by patient
        twin = self._twin(record, path, voxels)
        if twin and not copied:
            text = f"{path} has the same voxels as {twin[1]}: make sure that neither is a copy by mistake"
            self.add("warning", path, text)

    def _lacks(self, path: Path, held: set[int]) -> bool:
        """Whether a mask is empty; a structure that every volume should have may be missing as well."""
        rules = self.rules
        self.held |= dict.fromkeys(held - self.held.keys(), path)
        if not self.told:
            self.counts.values.update(held)
        if not held - ({IGNORED} if self.told else set()) - ({0} if rules.background else set()):
            self.add("warning", path, f"{path} is empty: nothing is drawn in it, check that this is meant")
            return True
        for place, name in enumerate(rules.classes or () if rules.everywhere else ()):
            if place not in held and place:
                self.add("warning", path, f"{path} has no {name} in any slice: check that this is meant")
        return False

    def _twin(self, record: Record, path: Path, voxels: tuple[Any, ...]) -> tuple[Record, Path] | None:
        """An earlier image, or mask, of the same voxels under another name."""
        found = self.voxels.setdefault(voxels, (record, path))
        return None if found[0].case == record.case else found


def _voxels(values: Any) -> tuple[Any, ...]:
    """What tells voxels from others: their type, their shape and a digest."""
    voxels = np.ascontiguousarray(values.as_tensor().numpy())
    return voxels.dtype, voxels.shape, hashlib.blake2b(voxels.data, digest_size=16).digest()


def _opened(path: Path) -> bool:
    """True, or the system's own reason against it: readers call it damage."""
    with path.open("rb"):
        return True
