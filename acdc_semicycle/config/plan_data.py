"""The data of ``semicycle plan``: which layout a folder has, what was read, and the keys that a training needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from acdc_semicycle.config import data_check
from acdc_semicycle.config.locations import misread
from acdc_semicycle.config.options import Option
from acdc_semicycle.data import check_values
from acdc_semicycle.data.check_findings import Counts, Finding
from acdc_semicycle.data.check_layout import KINDS
from acdc_semicycle.data.fingerprint import Fingerprint
from acdc_semicycle.datasets import folder, nnunet
from acdc_semicycle.datasets.records import existing_folder
from acdc_semicycle.imageio.pictures import IGNORED, is_picture
from acdc_semicycle.runtime.errors import InputError, refuse

OVERLAYS = {"acdc": None, "voc": "voc", "cityscapes": "cityscapes"}  # of a kind of data.check_layout.KINDS
EIGHT_BITS = 255


@dataclass
class PlanData:
    """What was found of a data set.

    Attributes:
        title: of the layout.
        settings: keys of a training that say what the data are.
        findings: faults and warnings, as of ``semicycle check``.
        notes: what was concluded without being told, a line each.
    """

    title: str
    settings: dict[str, Any]
    counts: Counts
    findings: list[Finding]
    notes: list[str] = field(default_factory=list)

    @property
    def fingerprint(self) -> Fingerprint:
        """What was seen of each case."""
        assert self.counts.fingerprint is not None, "read sets it"
        return self.counts.fingerprint

    @property
    def root(self) -> str:
        """The folder of the data set, or of its images."""
        return str(self.settings.get("dataset_dir") or self.settings["images"])

    @property
    def pictures(self) -> bool:
        """Whether the images are pictures."""
        return is_picture(self.fingerprint.cases[0].record.image)

    @property
    def overlay(self) -> str | None:
        """The shipped overlay that reads such data; None for ACDC, which the bundle reads itself."""
        if self.counts.kind in OVERLAYS:
            return OVERLAYS[self.counts.kind]
        return "own_pictures" if self.pictures else "own_scans"


def read(root: str | None, options: Mapping[str, Any]) -> PlanData:
    """Read a data set once, as ``semicycle check`` does.

    Args:
        root: a folder of ACDC, VOC, Cityscapes, nnU-Net, the Decathlon, or of images with their masks.
        options: the keys of ``data_keys.KEYS`` that are given, as text.

    Raises:
        InputError: there is no such folder, what must be told is not, or every fault, a line each.
    """
    options = dict(options)
    root = root or options.pop("images", None) or options.pop("dataset_dir", None)
    if root is None:
        raise InputError("no data set is given: give its folder, semicycle plan DATA, or --images FOLDER")
    images = existing_folder(root, "DATA", "the folder of a data set")
    title = None
    if "masks" not in options:
        images, title, options = laid_out(images, options)
    _check_names(images, options.get("masks"))
    counts = Counts(fingerprint=Fingerprint())
    findings = data_check.findings_of([str(images)], options, counts)
    data = PlanData(title or KINDS[counts.kind].title, {}, counts, findings)
    refuse([finding.text for finding in findings if finding.severity == "fault"], str(images))
    if not data.fingerprint.cases:
        raise InputError(f"{images} holds no image that can be read: give the folder of a data set")
    _put_settings(data, images, options)
    return data


def laid_out(root: Path, options: dict[str, Any]) -> tuple[Path, str | None, dict[str, Any]]:
    """The folder of images in a data set, the title of a layout of its own, and the options with its masks."""
    if nnunet.is_raw(root):
        meaning = nnunet.meaning(root)
        words = meaning.words if meaning is not None and "classes" not in options else {}
        return root / nnunet.IMAGES, "nnU-Net's layout", words | options | {"masks": str(root / nnunet.MASKS)}
    for image_folder, mask_folder in folder.LAYOUTS:
        if (root / image_folder).is_dir() and (root / mask_folder).is_dir():
            return root / image_folder, None, options | {"masks": str(root / mask_folder)}
    return root, None, options


def _check_names(images: Path, masks: str | None) -> None:
    """Refuse a folder whose name a plan cannot hold, as MONAI would read a part of it as a key."""
    for path in (images, masks):
        name = str(Path(path).absolute()) if path else ""
        if misread(Option(name, "images", name)) or not name.isprintable():
            raise InputError(f"{path!s} has a name that a plan cannot hold (#, @:: or %::, or not UTF-8): rename it")


def _put_settings(data: PlanData, images: Path, options: Mapping[str, Any]) -> None:
    """Set the keys of a training that reads these data."""
    settings = data.settings
    if data.counts.kind in OVERLAYS:
        settings["dataset_dir"] = str(images.absolute())
    else:
        settings["images"] = str(images.absolute())
        if "masks" in options:
            settings["masks"] = str(Path(options["masks"]).absolute())
    for key in ("patient", "classes", "mask_values", "colours", "channels", "intensity_range"):
        if key in options:
            settings[key] = data_check.value_of_option(key, options[key])
    if data.counts.kind not in OVERLAYS:
        _name_classes(data)
        if data.pictures:
            _look_at_pictures(data)


def _name_classes(data: PlanData) -> None:
    """Name classes by their number where no names are given.

    Raises:
        InputError: the values of the masks do not tell which class each is.
    """
    settings, values = data.settings, data.counts.values
    if "classes" in settings:
        return
    if settings.get("colours"):
        count = len(settings["colours"])
    elif settings.get("mask_values"):
        count = max(index for index in settings["mask_values"].values() if index != IGNORED) + 1
    else:
        classes = sorted(value for value in values if value != IGNORED)
        count = len(classes)
        if classes != list(range(count)) or count < 2:
            raise InputError(_ask_for_values(sorted(values)))
        if IGNORED in values:
            settings["mask_values"] = {str(value): value for value in sorted(values)}
            data.notes.append(f"{IGNORED} in the masks is taken for not annotated: neither trained nor scored")
    settings["classes"] = ["background", *(f"class_{label}" for label in range(1, count))]
    data.notes.append(
        f"no classes are given: they are called {', '.join(settings['classes'])}; give --classes, their names, the"
        " background first"
    )


def _ask_for_values(values: list[int]) -> str:
    """What to give where the values of the masks are not 0, 1, ..."""
    shown = ", ".join(map(str, values))
    if len(values) < 2:
        return f"the masks hold nothing but {shown}: draw a structure in them, a training needs two classes"
    setting = check_values.suggested(values, len(values))
    return f"the masks hold {shown}, which does not tell their classes: give {setting}"


def _look_at_pictures(data: PlanData) -> None:
    """Tell grey pictures from colours, and 8 bits from more, unless that is given."""
    cases = data.fingerprint.cases
    if "channels" not in data.settings and all(case.grey for case in cases):
        data.settings["channels"] = 1
        data.notes.append("the pictures have no colours: channels is 1")
    highest = max(case.intensities[-1] for case in cases)
    if "intensity_range" not in data.settings and highest > EIGHT_BITS:
        data.settings["intensity_range"] = None
        data.notes.append(
            f"the pictures are brighter than {EIGHT_BITS} (up to {highest:.0f}): each is scaled by its own range"
        )
