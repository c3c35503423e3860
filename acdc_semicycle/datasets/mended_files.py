"""The files of masks that came back: which image each belongs to, and the drafts.json that knows its draft."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from acdc_semicycle.datasets import drafts as drafts_file
from acdc_semicycle.datasets.cines import file_case
from acdc_semicycle.datasets.drafts import Draft, Drafts
from acdc_semicycle.datasets.mask_names import image_of, stem
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.imageio.pictures import PICTURES, is_picture
from acdc_semicycle.imageio.volumes import SCANS
from acdc_semicycle.runtime.errors import InputError, many, some
from acdc_semicycle.runtime.search import files_below

log = logging.getLogger("semicycle")


class ImageNames:
    """The names by which masks and drafts may know the images of a data set.

    These are its case, the last part of that, and the name of its file. A cine has one image and a case for each frame.
    A name that several images have is none, unless it is a case.

    Attributes:
        example: a name of an image.
    """

    def __init__(self, records: Sequence[Record]) -> None:
        self._images: dict[str, Path] = {}
        self._cases: dict[str, list[str]] = {}
        short: dict[str, list[Record]] = {}
        for record in records:
            for name in {record.case, file_case(record)}:
                self._images[name] = record.image
                self._cases.setdefault(name, []).append(record.case)
            for name in {Path(record.case).name, Path(file_case(record)).name, stem(record.image.name)}:
                short.setdefault(name, []).append(record)
        for name, same_name in short.items():
            if name not in self._images and len({record.image for record in same_name}) == 1:
                self._images[name] = same_name[0].image
                self._cases[name] = [record.case for record in same_name]
        self.example = next(iter(self._images))

    def cases_of(self, name: str) -> list[str]:
        """The cases that a relative name without its suffix belongs to; its first folders may be any.

        Raises:
            InputError: its image has several channels.
        """
        parts = PurePosixPath(name).parts
        for start in range(len(parts)):
            image = image_of("/".join(parts[start:]), self._images)
            if image is not None:
                return self._cases[image]
        return []


def mask_files(folder: Path, records: Sequence[Record]) -> list[Path]:
    """The files in a folder that can be masks of a data set's images, by what their names end in.

    Raises:
        InputError: there is none.
    """
    endings = PICTURES if is_picture(records[0].image) else SCANS
    files = [path for path in files_below(folder) if path.name.lower().endswith(endings) and not _is_overview(path)]
    if not files:
        raise InputError(f"{folder} holds no mask: give a folder of {', '.join(endings)} files as mended")
    return files


def _is_overview(path: Path) -> bool:
    """Whether a file is the picture of all drafts, beside their drafts.json."""
    return path.name == drafts_file.OVERVIEW and path.with_name(drafts_file.FILE).is_file()


def files_by_case(files: Sequence[Path], folder: Path, names: ImageNames) -> dict[str, list[Path]]:
    """The files of each case that has any.

    Raises:
        InputError: a file fits no image.
    """
    result: dict[str, list[Path]] = {}
    unmatched: list[Path] = []
    for path in files:
        cases = names.cases_of(stem(path.relative_to(folder).as_posix()))
        if not cases:
            unmatched.append(path)
        for case in cases:
            result.setdefault(case, []).append(path)
    if unmatched:
        raise InputError(
            f"{many(len(unmatched), 'mended mask')} {'fits' if len(unmatched) == 1 else 'fit'} no image, e.g."
            f" {some(unmatched, 3)}: give each the name of its image, such as {names.example}, or remove it"
        )
    return result


class DraftsNearby:
    """The drafts of masks, by the drafts.json in a mask's folder, else in one above, up to the parent of the folder.

    Args:
        folder: of all masks.
        file: a drafts.json in place of these.
        names: of the data set's images.
        classes: of the training.

    Raises:
        InputError: a drafts.json is damaged, or of other scans or other classes.
    """

    def __init__(self, folder: Path, file: str | Path | None, names: ImageNames, classes: Sequence[str]) -> None:
        self._folder, self._names, self._classes = folder, names, list(classes)
        self._by_case: dict[Path, dict[str, Draft]] = {}
        self._file = None if file is None else Path(str(file))
        if self._file is not None:
            self._drafts(self._file)

    def draft_of(self, mask: Path, record: Record) -> Draft | None:
        """The draft of an image whose mask a file is; None where none is known."""
        file = self._file or self._nearest(mask)
        return None if file is None else self._drafts(file).get(record.case)

    def tell_of_missing(self, cases_with_masks: Collection[str]) -> None:
        """Say which drafts have no mask: their scans stay as they are."""
        for file, drafts in self._by_case.items():
            missing = sorted({draft.case for case, draft in drafts.items() if case not in cases_with_masks})
            if missing:
                log.info("%s of %s without a mask, e.g. %s", many(len(missing), "draft"), file, missing[0])

    def _nearest(self, mask: Path) -> Path | None:
        """The drafts.json nearest to a mask."""
        for folder in mask.parents:
            if (folder / drafts_file.FILE).is_file():
                return folder / drafts_file.FILE
            if folder == self._folder.parent:
                return None
        return None

    def _drafts(self, file: Path) -> dict[str, Draft]:
        """The drafts of a drafts.json by the data set's case; it is read once."""
        if file not in self._by_case:
            drafts = drafts_file.load(file)
            self._check_classes(drafts)
            by_case: dict[str, Draft] = {}
            for name, draft in drafts.drafts.items():
                by_case |= dict.fromkeys(self._names.cases_of(name), draft)
            if drafts.drafts and not by_case:
                raise InputError(
                    f"{file} is of other scans, e.g. {some(list(drafts.drafts), 2)}: give their data set, or remove the"
                    " file to take masks as they are"
                )
            self._by_case[file] = by_case
        return self._by_case[file]

    def _check_classes(self, drafts: Drafts) -> None:
        """Refuse drafts whose class indices mean other classes; a training may have more of them."""
        classes = list(drafts.classes)
        if self._classes[: len(classes)] != classes:
            raise InputError(
                f"{drafts.path} has drafts of the classes {', '.join(classes)}, and this training has"
                f" {', '.join(self._classes)}: begin with those in their order, or give drafts of these classes"
            )
