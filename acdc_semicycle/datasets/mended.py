"""Masks that came back: a folder of masks for images of any data set, drafts that people mended among them.

A mask has the name of its image, as in a data set of one's own (:mod:`acdc_semicycle.datasets.folder`). Its voxels are
class indices, as ``predict`` writes them, or 255 (not annotated). Where its draft is known from a drafts.json, it is
compared with that. A mask that is its draft unchanged is no truth. Of one that was changed those slices are truth that
differ from the draft, and those that drafts.json lists to be mended.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from acdc_semicycle.datasets.drafts import Draft
from acdc_semicycle.datasets.mended_files import DraftsNearby, ImageNames, files_by_case, mask_files
from acdc_semicycle.datasets.records import Mended, Record, existing_folder
from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.cine_files import read_cine
from acdc_semicycle.imageio.pictures import (
    IGNORED,
    check_lossless,
    class_of_colours,
    class_values,
    is_picture,
    read_picture,
)
from acdc_semicycle.imageio.volume import in_order_of
from acdc_semicycle.runtime.errors import InputError, many

log = logging.getLogger("semicycle")


class Change(NamedTuple):
    """What was changed of one structure, in voxels."""

    draft: int
    mended: int
    added: int
    removed: int


@dataclass(frozen=True)
class MendedMask:
    """A mask that came back.

    Attributes:
        record: the data set's, with this mask in place of its own.
        slices: number of the image's slices.
        changes: by class index, without the background; None where no draft of the image is known.
        unchanged: whether its voxels are those of the draft.
    """

    record: Record
    slices: int
    changes: Mapping[int, Change] | None = None
    unchanged: bool = False


def masks(
    records: Sequence[Record],
    folder: str | Path | None,
    classes: Sequence[str],
    colours: Sequence[Sequence[int]] | None = None,
    drafts: str | Path | None = None,
    accept_drafts: bool = False,
) -> list[MendedMask]:
    """The masks of a folder that are truth, sorted by case; lines say how many, and what is left out.

    Args:
        records: of the data set.
        folder: searched with all folders below it; None for no masks.
        classes: their names, the background first.
        colours: of the classes, for pictures that are stored as colours.
        drafts: a drafts.json in place of those that lie beside the masks.
        accept_drafts: whether drafts are truth as they are: unchanged ones, and slices that nobody changed.

    Raises:
        InputError: no folder, or no mask in it; a mask fits no image, cannot be read, or annotates nothing; an image
            has two; a drafts.json is damaged or of other data or classes; all masks are unchanged drafts.
    """
    if folder is None:
        return []
    folder = existing_folder(folder, "mended", "the folder of mended masks")
    files = mask_files(folder, records)
    names = ImageNames(records)
    own_files = files_by_case(files, folder, names)
    nearby = DraftsNearby(folder, drafts, names, classes)
    taken: list[MendedMask] = []
    unchanged: list[MendedMask] = []
    for record in sorted(records):
        compared = []
        for path in own_files.get(record.case, ()):
            compared += _compared(path, record, nearby.draft_of(path, record), colours)
        mask = _only_one(record, compared)
        if mask is None:
            continue
        if accept_drafts:
            taken.append(_accepted(mask))
        elif mask.unchanged:
            unchanged.append(mask)
        else:
            taken.append(mask)
    _tell(folder, taken, unchanged)
    nearby.tell_of_missing(own_files)
    return taken


def with_mended(records: Sequence[Record], masks: Sequence[MendedMask]) -> list[Record]:
    """The records of a data set, with mended masks in place of their own."""
    mended = {mask.record.case: mask.record for mask in masks}
    return [mended.get(record.case, record) for record in records]


def _compared(
    path: Path, record: Record, draft: Draft | None, colours: Sequence[Sequence[int]] | None
) -> list[MendedMask]:
    """A file as the mask of an image, compared with its draft; nothing of a frame of a cine in which nothing is drawn.

    Raises:
        InputError: it cannot be read, annotates nothing, or is not of its draft's size.
    """
    labels = _picture_labels(path, colours) if is_picture(path) else _scan_labels(path, record)
    if labels is None:
        return []
    _check_annotates(path, labels, draft)
    annotated = (labels != IGNORED).any((0, 1))
    if draft is None:
        return [MendedMask(_with_mask(record, path, annotated), labels.shape[2])]
    draft_labels = draft.labels if draft.labels.ndim == 3 else draft.labels[..., record.frame or 0]
    if draft_labels.shape != labels.shape:
        raise InputError(
            f"{path} has the shape {labels.shape}, and its draft {draft_labels.shape}: give a mask on its image's grid,"
            " and the drafts.json of these scans"
        )
    changed = (labels != draft_labels).any((0, 1))
    listed = np.isin(np.arange(labels.shape[2]), draft.slices_to_mend)
    result = _with_mask(record, path, annotated & (changed | listed))
    return [MendedMask(result, labels.shape[2], _changes(draft_labels, labels), not changed.any())]


def _picture_labels(path: Path, colours: Sequence[Sequence[int]] | None) -> NDArray:
    """The class indices [rows, columns, 1] of a picture."""
    picture = read_picture(path)
    check_lossless(path, picture)
    return class_values(path, picture, class_of_colours(colours))[0]


def _scan_labels(path: Path, record: Record) -> NDArray | None:
    """The class indices [X, Y, Z] of a scan's mask, its axes in the order of its image's.

    Of a cine they are those of the record's frame; None where nothing is drawn in it.
    """
    if record.frame is None:
        mask, image = volumes.read(path, mask=True), volumes.read(record.image)
        return in_order_of(mask, image).voxels[..., 0]
    mask, image = read_cine(path, mask=True), read_cine(record.image)
    voxels = in_order_of(mask, image).voxels
    if voxels.shape[3] == 1:  # a mask of this frame alone
        return voxels[..., 0]
    if voxels.shape[3] != image.voxels.shape[3]:
        raise InputError(
            f"{path} has {voxels.shape[3]} frames, its image {image.voxels.shape[3]}: give a mask of as many frames"
        )
    labels = voxels[..., record.frame]
    return labels if ((labels != 0) & (labels != IGNORED)).any() else None


def _check_annotates(path: Path, labels: NDArray, draft: Draft | None) -> None:
    """Refuse a mask without an annotated voxel, and one of 0 and 255, as of a program whose structure is 255."""
    structures = (labels != 0) & (labels != IGNORED)
    if not structures.any() and (labels == IGNORED).any() and (draft is None or (labels == IGNORED).all()):
        raise InputError(
            f"{path} holds no structure, and {IGNORED}, which means not annotated: a mended mask holds the number of"
            " each class, 1 for the first structure"
        )


def _with_mask(record: Record, path: Path, annotated: NDArray[np.bool_]) -> Record:
    """A record with a mended mask, of which some slices are annotated, or all."""
    slices = None if annotated.all() else tuple(np.flatnonzero(annotated).tolist())
    return replace(record, label=path, mended=Mended(slices, record.label))


def _accepted(mask: MendedMask) -> MendedMask:
    """A mask all of whose slices are truth."""
    record = mask.record
    assert record.mended is not None, "_with_mask sets it"
    return replace(mask, record=replace(record, mended=replace(record.mended, annotated=None)))


def _changes(draft: NDArray, labels: NDArray) -> dict[int, Change]:
    """What was changed of each structure; what was made 255 (not annotated) counts as neither."""
    changes: dict[int, Change] = {}
    known = labels != IGNORED
    for label in sorted({*np.unique(draft).tolist(), *np.unique(labels).tolist()} - {0, IGNORED}):
        before, after = (draft == label) & known, labels == label
        counts = (before, after, after & ~before, before & ~after)
        changes[int(label)] = Change(*(int(np.count_nonzero(voxels)) for voxels in counts))
    return changes


def _only_one(record: Record, found: Sequence[MendedMask]) -> MendedMask | None:
    """The one mask of an image: an unchanged draft counts only where there is no other.

    Raises:
        InputError: the image has two.
    """
    masks = [mask for mask in found if not mask.unchanged] or list(found[:1])
    if len(masks) > 1:
        first, second = (mask.record.label for mask in masks[:2])
        raise InputError(f"{record.image} has two mended masks, {first} and {second}: keep one")
    return masks[0] if masks else None


def _tell(folder: Path, taken: Sequence[MendedMask], unchanged: Sequence[MendedMask]) -> None:
    """Say how many masks are taken in, and how many are not.

    Raises:
        InputError: none is.
    """
    if not taken:
        raise InputError(
            f"the masks in {folder} are {many(len(unchanged), 'draft')} that nobody changed, and so no truth: mend some"
            " of their slices, or give --accept_drafts True"
        )
    replacing = sum(mask.record.original.label is not None for mask in taken)
    partly = sum(mask.record.partly_annotated for mask in taken)
    log.info(
        "%s from %s: %d of images without a mask, %d in place of the data set's own; %d are truth in some slices only",
        many(len(taken), "mended mask"),
        folder,
        len(taken) - replacing,
        replacing,
        partly,
    )
    if unchanged:
        log.warning(
            "%s no truth, as nobody changed the draft, e.g. %s: mend it, or give --accept_drafts True",
            "1 mask is" if len(unchanged) == 1 else f"{len(unchanged)} masks are",
            unchanged[0].record.label,
        )
