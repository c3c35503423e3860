"""Cityscapes (Cordts et al. 2016), and data sets in its layout: streets seen from a car.

Below ``root``::

    leftImg8bit/{train,val}/CITY/STEM_leftImg8bit.png     the image (or .jpg, .jpeg)
    gtFine/{train,val}/CITY/STEM_gtFine_labelIds.png      its mask, if there is one

The official ``test`` has no public masks (a server scores it) and is not used.
"""

from __future__ import annotations

import logging
from pathlib import Path

from acdc_semicycle.datasets.records import Record, check_records, existing_folder
from acdc_semicycle.imageio.pictures import IGNORED
from acdc_semicycle.runtime.errors import InputError

log = logging.getLogger("semicycle")

# labelId in the mask, class, colour: the rows of the published table (cityscapesScripts, labels.py) that are scored
_TABLE = (
    (7, "road", (128, 64, 128)),
    (8, "sidewalk", (244, 35, 232)),
    (11, "building", (70, 70, 70)),
    (12, "wall", (102, 102, 156)),
    (13, "fence", (190, 153, 153)),
    (17, "pole", (153, 153, 153)),
    (19, "traffic light", (250, 170, 30)),
    (20, "traffic sign", (220, 220, 0)),
    (21, "vegetation", (107, 142, 35)),
    (22, "terrain", (152, 251, 152)),
    (23, "sky", (70, 130, 180)),
    (24, "person", (220, 20, 60)),
    (25, "rider", (255, 0, 0)),
    (26, "car", (0, 0, 142)),
    (27, "truck", (0, 0, 70)),
    (28, "bus", (0, 60, 100)),
    (31, "train", (0, 80, 100)),
    (32, "motorcycle", (0, 0, 230)),
    (33, "bicycle", (119, 11, 32)),
)
CLASSES = tuple(name for _, name, _ in _TABLE)
COLOURS = tuple(colour for _, _, colour in _TABLE)
VALUES: dict[int, int] = {
    **dict.fromkeys([*range(34), 255], IGNORED),
    **{label: train for train, (label, _, _) in enumerate(_TABLE)},
}
"""What a mask's value (labelId) means: a class, or IGNORED. 255 is how -1, the licence plate, is stored."""

_PARTS = {"train": "training", "val": "testing"}
_IMAGE, _MASK = "_leftImg8bit", "_gtFine_labelIds.png"


def records(root: str | Path | None) -> list[Record]:
    """Every image of ``train`` and ``val``, sorted by case; each image is its own patient, as the field draws them.

    ``val`` is the part ``"testing"``: the field reports on it, and so models are selected on a part of ``train``.

    Args:
        root: the folder that holds leftImg8bit and gtFine.

    Raises:
        InputError: there is no such folder, a part is missing or empty, an image of ``val`` has no mask, or a
            name is there twice.
    """
    root = existing_folder(root, "dataset_dir (or CITYSCAPES_DIR)", "the folder that holds leftImg8bit and gtFine")
    images: list[Record] = []
    for part in _PARTS:
        images += _part(root, part)
    return check_records(images, root / "gtFine")


def _part(root: Path, part: str) -> list[Record]:
    """The images of one part, each with its mask."""
    images, masks = root / "leftImg8bit" / part, root / "gtFine" / part
    for folder in (images, masks):
        if not folder.is_dir():
            raise InputError(f"{folder} is not there: unpack leftImg8bit and gtFine, both in dataset_dir")
    labels: dict[tuple[str, str], Path] = {}  # by city and stem
    for path in _visible(masks, f"*{_MASK}"):
        labels[path.parent.name, path.name.removesuffix(_MASK)] = path
    result: list[Record] = []
    for path in _visible(images, f"*{_IMAGE}.*"):
        if path.suffix.lower() in (".png", ".jpg", ".jpeg"):
            stem = path.stem.removesuffix(_IMAGE)
            result.append(Record(stem, stem, path, labels.pop((path.parent.name, stem), None), part=_PARTS[part]))
    if not result:
        raise InputError(f"{images} holds no CITY/STEM{_IMAGE}.png: unpack the images of Cityscapes there")
    if labels:
        log.warning(
            "%d masks in %s have no image and are ignored, e.g. %s", len(labels), masks, min(labels.values()).name
        )
    return result


def _visible(part: Path, pattern: str) -> list[Path]:
    """The files of every city, sorted, without hidden ones (``._X`` of an archive)."""
    return sorted(path for path in part.glob(f"*/{pattern}") if path.name[0] != ".")
