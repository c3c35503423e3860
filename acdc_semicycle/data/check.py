"""What is wrong with a data set, all of it at once and each with its file, before hours of training.

A *fault* stops a training or spoils what it learns; a *warning* may be meant so. Files are read as a training reads
them (``LoadCheckedd``, ``CheckLabeld``), so both say the same; one case is in memory at a time. What no file tells
cannot be found: a mask of a square plane that was transposed and keeps its image's affine.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from acdc_semicycle.data import cache
from acdc_semicycle.data.labels import CheckLabeld
from acdc_semicycle.data.transforms import LoadCheckedd, check_range
from acdc_semicycle.datasets import acdc, cityscapes, folder, voc
from acdc_semicycle.datasets.records import Record, given_folder
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.geometry import geometry, words
from acdc_semicycle.imageio.pictures import IGNORED, PICTURES, is_picture
from acdc_semicycle.imageio.volumes import NIFTI, SCANS
from acdc_semicycle.runtime import distributed, environment
from acdc_semicycle.runtime.errors import InputError, many, refuse
from acdc_semicycle.runtime.files import write_text

log = logging.getLogger("semicycle")
VALUES = "a training needs mask_values, the class of each value"


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


class _Kind(NamedTuple):
    """How a training reads this kind of data set."""

    title: str
    classes: Sequence[str] | None = None
    colours: Sequence[Sequence[int]] | None = None
    values: Mapping[Any, Any] | None = None
    intensity_range: Sequence[int] | None = None
    background: bool = True  # is the first class
    everywhere: bool = False  # whether every structure is in every volume
    own: bool = False  # whether its owner names the classes


KINDS = {
    "acdc": _Kind("ACDC", acdc.CLASSES, acdc.COLOURS, everywhere=True),
    "voc": _Kind("PASCAL VOC", voc.CLASSES, voc.COLOURS, voc.VALUES, (0, 255)),
    "cityscapes": _Kind("Cityscapes", cityscapes.CLASSES, cityscapes.COLOURS, cityscapes.VALUES, (0, 255), False),
    "folder": _Kind("a folder of images", own=True),
}


def kind(root: str | Path) -> str:
    """Whose layout a folder has, by the names in it: a key of KINDS, ``"folder"`` where it is nobody's."""
    root = Path(root)
    try:
        acdc.patients(root)
        return "acdc"
    except (InputError, OSError):
        if any((home / "JPEGImages").is_dir() for home in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012")):
            return "voc"
        return "cityscapes" if any((root / name).is_dir() for name in ("leftImg8bit", "gtFine")) else "folder"


def bar(cases: Sequence[Record]) -> Iterable[Record]:
    """The cases, with a progress bar where somebody looks."""
    return tqdm(cases, "checking", disable=None, leave=False)


def check(
    root: str | Path,
    masks: str | Path | None = None,
    classes: Sequence[str] | None = None,
    mask_values: Mapping[Any, Any] | None = None,
    progress: Callable[[Sequence[Record]], Iterable[Record]] = bar,
    counts: Counts | None = None,
) -> list[Finding]:
    """Everything wrong with a data set: the faults, then the warnings, each sorted by file.

    Args:
        root: an ACDC tree, a VOC devkit, Cityscapes' layout, or a folder of images and masks.
        masks: of a folder of images, the other folder, of their masks.
        classes: their names, the background first; by default the data set's, of a folder whatever its masks hold.
        mask_values: the class of each stored value, as in a training.
        progress: what the cases go through on their way.
        counts: is filled with what was looked at.

    Raises:
        InputError: no such folder, or mask_values that are none.
    """
    environment.chosen()
    root = given_folder(root, "DATASET", "the folder of a data set")
    counts = counts or Counts()
    counts.kind = "folder" if masks else kind(root)
    rules = KINDS[counts.kind]
    cases = _Cases(rules._replace(classes=classes or rules.classes, values=mask_values or rules.values), counts)
    records = _acdc(root, cases) if counts.kind == "acdc" else _others(root, masks, cases)
    counts.patients, counts.images = len({record.patient for record in records}), len(records)
    counts.masks = sum(record.label is not None for record in records)
    for record in progress(records):
        cases.check(record)
    cases.check_classes()
    return sorted(cases.found, key=lambda finding: (finding.severity, str(finding.path)))


def read_acdc(root: str | Path) -> list[Record]:
    """ACDC's records; where these cannot be made, nothing is trained, and all else that is wrong is named, too.

    Raises:
        InputError: every fault, a line each.
    """
    try:
        return acdc.records(root)
    except InputError:
        if kind(root) == "acdc":
            refuse([finding.text for finding in check(root) if finding.severity == "fault"], str(root))
        raise


def before_training(
    records: Sequence[Record],
    folder: str | Path,
    dataset: str = "folder",
    **rules: Any,
) -> None:
    """Refuse the images of a training and their masks, all that is wrong with them at once.

    What was found faultless is not read again as long as no file changes; its warnings are said again.

    Args:
        records: those that are trained on, validated or tested.
        folder: keeps a file for each data set without a fault, with its warnings.
        dataset: a key of KINDS, or ``"phantom"``.
        rules: ``classes``, ``colours``, ``values`` and ``intensity_range``, as the training has them.

    Raises:
        InputError: every fault, a line each.
    """
    if distributed.rank() == 0:
        records = list({(record.image, record.label): record for record in records}.values())  # split by slice: once
        kind = KINDS.get("acdc" if dataset == "phantom" else dataset, KINDS["folder"])._replace(**rules)
        digest = cache.digest_of(records, list(kind), ("image", "label"))  # None where a file is missing
        stamp = Path(str(folder)) / f"checked-{digest}.json"
        warnings = _warnings(stamp) if digest else None
        if warnings is None:
            warnings = _without_faults(_Cases(kind, Counts()), records)
            if digest:
                write_text(stamp, json.dumps(warnings))
        for text in warnings:
            log.warning("%s", text)
    distributed.wait()


def _warnings(stamp: Path) -> list[str] | None:
    """Those that were found when these files were faultless; None where that is not known."""
    with suppress(OSError, ValueError):
        found = json.loads(stamp.read_text(encoding="utf-8")) if stamp.is_file() else None
        return found if isinstance(found, list) else None
    return None


def _without_faults(cases: _Cases, records: Sequence[Record]) -> list[str]:
    """The warnings; where there are faults these are raised, all at once."""
    for record in bar(records):
        cases.check(record)
    cases.check_classes()
    faults, warnings = (
        sorted(finding.text for finding in cases.found if finding.severity == severity)
        for severity in ("fault", "warning")
    )
    refuse(faults, "the data set")
    return warnings


def report(findings: Sequence[Finding], counts: Counts) -> str:
    """The findings as lines of text, with what was looked at above and their number below."""
    who = f"{many(counts.patients, 'patient')}, " if counts.kind == "acdc" else ""
    looked = f"{who}{many(counts.images, 'image')}, {many(counts.masks, 'mask')}"
    lines = [f"{KINDS[counts.kind].title}: {'not counted' if counts.alone else looked}"]
    lines += [f"{finding.severity}: {finding.text}" for finding in findings]
    if counts.lost:
        lines.append(
            f"note: {counts.lost} of {counts.scans} images have a spacing of 1 x 1 x 1 mm, as of files that have lost"
            " theirs: Dice is fine, millilitres and millimetres are withheld"
        )
    if counts.values:
        classes, held = len(counts.values), ", ".join(f"{value} in {n}" for value, n in sorted(counts.values.items()))
        lines.append(f"note: no classes are given, so their number is taken from the masks: {classes} ({held} masks)")
        if max(counts.values) >= classes:
            lines.append(f"note: these are not 0 to {classes - 1}: {VALUES}")
    n = Counter(finding.severity for finding in findings)
    nothing = "nothing found" if not lines[-1].endswith(VALUES) else "nothing else found"
    return "\n".join([*lines, ", ".join(many(n[word], word) for word in ("fault", "warning")) if findings else nothing])


def status(findings: Iterable[Finding]) -> int:
    """The exit code: 1 with a fault, 0 with warnings at most."""
    return int(any(finding.severity == "fault" for finding in findings))


def _others(root: Path, masks: str | Path | None, cases: _Cases) -> list[Record]:
    """The records; where the layout itself is at fault, every file below by itself."""
    try:
        if cases.counts.kind == "folder":
            return folder.records(root, masks)
        return (voc if cases.counts.kind == "voc" else cityscapes).records(root)
    except (InputError, OSError) as error:
        cases.fault(root, error)
    cases.alone = cases.counts.alone = True
    files = {path for parent in (root, masks) if parent and Path(parent).is_dir() for path in Path(parent).rglob("*")}
    named = (path for path in sorted(files) if path.name.lower().endswith((*SCANS, *PICTURES)) and path.name[0] != ".")
    return [Record(path.stem, path.stem, path) for path in named if path.is_file()]


def _acdc(root: Path, cases: _Cases) -> list[Record]:
    """The records of every patient; of a broken one whatever is there."""
    records: list[Record] = []
    folders: dict[str, Path] = {}
    for path, text in acdc.passed_over(root).items():
        cases.add("warning", path, text)
    for part, patient in acdc.patients(root):
        if (other := folders.setdefault(patient.name, patient)) is not patient:
            text = f"{patient} is there twice, also as {other}: keep one, nobody is both trained on and scored"
            cases.add("fault", patient, text)
        files = cases.attempt(patient, os.listdir, patient)
        if files is None:
            continue
        frames = _frames(patient, sorted(files), cases)
        asked = {f"{patient.name}_frame{frame:02d}": (phase, frame) for phase, frame in frames}
        found = [
            cases.attempt(patient / f"{name}.nii.gz", acdc.record, patient, *which, part)
            for name, which in asked.items()
        ]
        own = [record for record in found if record]
        _missing_masks(patient, own, cases)
        _stray_masks(patient, sorted(files), asked, cases)
        records += own
    if records and not any(record.label for record in records):
        cases.add("fault", root, f"{root} holds no mask of any image: there is nothing to learn from, give masks")
    return sorted(records)


def _frames(patient: Path, files: Sequence[str], cases: _Cases) -> list[tuple[str | None, int]]:
    """The phases and their frames; without a usable Info.cfg the frames that are there."""
    if frames := cases.attempt(patient / "Info.cfg", acdc.frames, patient):
        return list(frames.items())
    found = (re.fullmatch(rf"{patient.name}_frame(\d\d+)\.nii(\.gz)?", name) for name in files)
    return [(None, int(match[1])) for match in found if match]


def _missing_masks(patient: Path, records: Sequence[Record], cases: _Cases) -> None:
    """A patient is labelled whole or not at all."""
    for record in records:
        if record.label is None and any(other.label for other in records):
            path = patient / f"{record.case}_gt.nii.gz"
            text = f"{path} is not there, but the mask of another frame: all of {record.patient} counts as unlabelled"
            cases.add("warning", path, text)


def _stray_masks(patient: Path, files: Sequence[str], asked: Collection[str], cases: _Cases) -> None:
    """Masks without an image, but for images that are missed already."""
    for name in files:
        drawn = re.fullmatch(r"(.+)_gt\.nii(\.gz)?", name)
        if drawn and drawn[1] not in asked and not {drawn[1] + end for end in NIFTI} & set(files):
            text = f"{patient / name} is a mask without an image: restore {drawn[1]}.nii.gz, or remove the mask"
            cases.add("warning", patient / name, text)


class _Cases:
    """What is wrong with one case after the other, and what later ones are compared with."""

    def __init__(self, rules: _Kind, counts: Counts) -> None:
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
            text = f"{path} is {words(shape)} voxels of {words(spacing)} mm, {other.name} of the same patient"
            text += f" {words(its_shape)} of {words(its_spacing)} mm: they should be frames of one cine"
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
