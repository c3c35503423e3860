"""PASCAL VOC 2012 (Everingham et al. 2015), and the further masks of SBD (Hariharan et al. 2011) if they are there.

Below ``root``, ``root/VOC2012`` or ``root/VOCdevkit/VOC2012``::

    JPEGImages/X.jpg                         the image
    SegmentationClass/X.png                  its mask; 255 is the seam between objects
    SegmentationClassAug/X.png               SBD's masks, if they are there
    ImageSets/Segmentation/train.txt         what is trained on, a name a line
                           trainaug.txt      the same with SBD's (or train_aug.txt)
                           val.txt           what is scored
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from acdc_semicycle.datasets.records import Record, check_records, existing_folder
from acdc_semicycle.imageio.pictures import IGNORED
from acdc_semicycle.runtime.errors import InputError, refuse, some

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def _colour(label: int) -> tuple[int, int, int]:
    """The devkit's rule: the label's bits go to red, green and blue in turn, each filled from its highest bit."""
    colour = [0, 0, 0]
    for bit in range(3):
        for channel in range(3):
            colour[channel] |= (label >> (3 * bit + channel) & 1) << (7 - bit)
    red, green, blue = colour
    return red, green, blue


COLOURS = tuple(_colour(label) for label in range(len(CLASSES)))
VALUES: dict[int, int] = {**{label: label for label in range(len(CLASSES))}, 255: IGNORED}
"""What a mask's value means: a class, or IGNORED."""


def records(root: str | Path | None) -> list[Record]:
    """Every image of the training list and of ``val.txt``, sorted by case; each picture is its own patient.

    ``val.txt`` is the part ``"testing"``: the field reports on it, and so models are selected on a part of the
    training list. With SegmentationClassAug, that list is ``trainaug.txt``, or all its masks outside ``val.txt``.

    Args:
        root: the folder that holds VOCdevkit, VOCdevkit itself, or its VOC2012.

    Raises:
        InputError: there is no such folder; a folder, list or image is missing; a list is empty; an image is in both
            lists, or one of ``val.txt`` has no mask.
    """
    home = _home(existing_folder(root, "dataset_dir (or VOC_DIR)", "the folder that holds VOCdevkit"))
    lists = home / "ImageSets" / "Segmentation"
    folders = [home / name for name in ("SegmentationClass", "SegmentationClassAug") if (home / name).is_dir()]
    if not folders:
        raise InputError(f"{home} has no SegmentationClass folder: unpack the masks (the segmentation task) there")
    scored = _names(lists / "val.txt")
    if folders[-1].name == "SegmentationClass":
        trained = _names(lists / "train.txt")
    else:
        trained = _sbd(lists, folders[-1], scored)
    listed: list[Record] = []
    for name in trained:
        listed.append(_record(home, folders[::-1], name, "training"))
    for name in scored:
        listed.append(_record(home, folders, name, "testing"))
    _check_images(listed, lists)
    return check_records(listed, folders[-1])


def _check_images(listed: Sequence[Record], lists: Path) -> None:
    """Refuse images that are listed and not there."""
    faults: list[str] = []
    for record in listed:
        if not record.image.is_file():
            faults.append(
                f"{record.image} is not there, but listed for {record.part}: restore it, or remove {record.case} from"
                " the list"
            )
    refuse(faults, str(lists))


def _home(root: Path) -> Path:
    """The folder of VOC 2012, which may be the root or below it."""
    for home in (root / "VOCdevkit" / "VOC2012", root / "VOC2012", root):
        if (home / "JPEGImages").is_dir():
            return home
    raise InputError(f"{root} holds no VOCdevkit/VOC2012/JPEGImages: give the folder that holds VOCdevkit, unpacked")


def _sbd(lists: Path, masks: Path, scored: list[str]) -> list[str]:
    """The training names with SBD's masks."""
    for path in (lists / "trainaug.txt", lists / "train_aug.txt"):
        if path.is_file():
            return _names(path)
    names = {path.stem for path in masks.glob("*.png") if not path.name.startswith(".")} - set(scored)
    if not names:
        raise InputError(f"{masks} holds no mask of an image outside val.txt: unpack SBD's masks there, or remove it")
    return sorted(names)


def _names(path: Path) -> list[str]:
    """The names a list gives, each once: ``X``, or DeepLab's ``/JPEGImages/X.jpg /SegmentationClass/X.png``."""
    if not path.is_file():
        raise InputError(f"{path} is not there: restore it from the VOC 2012 archive")
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    words = [line.split()[0] for line in lines if line.strip()]
    outside = [word for word in words if ".." in word]
    if outside:
        raise InputError(f"{path} lists {some(outside)}: give names of images, without '..'")
    if not words:
        raise InputError(f"{path} is empty: restore it from the VOC 2012 archive, a name a line")
    return list(dict.fromkeys(PurePosixPath(word).stem for word in words))


def _record(home: Path, folders: list[Path], name: str, part: str) -> Record:
    """The image of this name, with its mask from the first folder that has one."""
    return Record(name, name, home / "JPEGImages" / f"{name}.jpg", _mask(folders, name), part=part)


def _mask(folders: list[Path], name: str) -> Path | None:
    """The mask of this name in the first folder that has one."""
    for folder in folders:
        mask = folder / f"{name}.png"
        if mask.is_file():
            return mask
    return None
