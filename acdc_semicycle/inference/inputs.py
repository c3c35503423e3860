"""Which scans are meant, what each is called, whose it is, and where its label map goes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from acdc_semicycle.datasets.records import MASK_ENDINGS
from acdc_semicycle.imageio import dicom_series, volumes
from acdc_semicycle.imageio.pictures import PICTURES, is_picture
from acdc_semicycle.inference.label_maps import check_target, ours
from acdc_semicycle.inference.scan import Scan, fitting_name, id_of, own_ending, stem, told_apart, whose
from acdc_semicycle.runtime.errors import InputError, many, some
from acdc_semicycle.runtime.files import read_json

log = logging.getLogger("semicycle")

FRAMES = (None, "all", "ed_es")
NOT_READ = (".mgz", ".mgh", ".mnc", ".nii.bz2", ".nii.xz", ".nii.zst", ".hdr.gz", ".img.gz", ".gipl", ".par")


class Scans:
    """The scans, or the pictures, below one path or several; nothing is read but names and DICOM headers.

    A folder is searched with its subfolders. Masks beside their image (``X_gt``, ``_seg``, ``_mask``, ``_label``) are
    left alone, and so is the cine (``_4d``) of an ACDC patient whose frames are there, unless ``frames`` asks for
    cines.

    Args:
        source: .nii, .nii.gz, .nrrd, .mha or .mhd files, or folders of them or of DICOM series, one or a list; pictures
            for a network of pictures.
        folder: where the label maps go; if it lies below ``source``, it is not searched.
        card: of the network: whether it takes pictures, and the names and colours of its classes.
        frames: of a cine: ``"all"`` (one label map of all frames), ``"ed_es"`` (one each of end-diastole and
            end-systole), or None, which is all where nothing else of that patient is there.
        format: of the label maps, ``nii.gz``, ``nrrd`` or ``mha``; by default each scan's own.
        part: only patients of this part of ``split``, a training run's split.json.

    Raises:
        InputError: nothing given, nothing there, or no scan in it.
    """

    def __init__(
        self,
        source: Any,
        folder: str | Path,
        card: Mapping[str, Any],
        frames: str | None = None,
        format: str | None = None,
        part: str | None = None,
        split: str | Path | None = None,
    ) -> None:
        self.card, self.folder, self.frames = card, Path(str(folder)), frames
        self.suffixes = PICTURES if card["pictures"] else volumes.SCANS
        self.ending = _ending(format, card)
        if frames not in FRAMES:
            raise InputError(f"frames is {frames!r}: give all or ed_es")
        given = _given(source, self.suffixes)
        if card["pictures"]:
            check_target(self.legend)
        self.root = given[0] if len(given) == 1 and given[0].is_dir() else _common(given)
        found = [scan for path in given for scan in self._below(path)]
        found = _once(found)
        if part is not None:
            gone = [scan for scan in found if scan.fault or not scan.path.exists()]  # has its line whosever it would be
            found = _of_part([scan for scan in found if scan not in gone], part, split) + gone
        if all(scan.fault for scan in found):
            raise InputError("\n  ".join(str(scan.fault) for scan in found))
        self.found = told_apart(found)

    @property
    def legend(self) -> Path:
        """Where the legend of label maps of pictures goes."""
        return self.folder / "legend.png"

    def _below(self, path: Path) -> Iterator[Scan]:
        if not path.is_dir():
            yield self._scan(path)
            return
        folders, closed = self._folders(path)
        found = [self._scan(file) for file in self._files(path, folders)]
        if not self.card["pictures"]:
            found += self._series(folders)
        found += [
            self._scan(Path(folder), f"{folder} cannot be listed ({why}): give a folder that can be read")
            for folder, why in closed
        ]
        if not found:
            series = "" if self.card["pictures"] else " and no DICOM series"
            found = [self._scan(path, f"{path} holds no {words(self.suffixes)} file{series}: give a folder of them")]
        yield from found

    def _folders(self, root: Path) -> tuple[list[Path], list[tuple[Any, Any]]]:
        """A folder and all below it, each once, links followed last; and those that cannot be listed, with reasons."""
        found: list[Path] = []
        closed: list[tuple[Any, Any]] = []
        tops, seen = [root], set[Path]()
        for top in tops:  # which grows
            for folder, below, _ in os.walk(top, onerror=lambda error: closed.append((error.filename, error.strerror))):
                path, real = Path(folder), Path(os.path.realpath(folder))
                again = real in seen or self._ours(path) or (path != root and root.resolve().is_relative_to(real))
                below[:] = [] if again else sorted(name for name in below if not name.startswith("."))
                if not again:
                    seen.add(real)
                    found.append(path)
                    tops += [path / name for name in below if (path / name).is_symlink()]
        return found, closed

    def _scan(self, path: Path, fault: str | None = None) -> Scan:
        if (
            fault is None
            and path.suffix.lower() in dicom_series.ENDINGS
            and not path.name.lower().endswith(self.suffixes)
        ):
            fault = f"{path} is one file of a DICOM series: give its folder"
        name = stem(path)
        place = Path(os.path.relpath(path.parent, self.root))
        end = ".png" if is_picture(path) else self.ending or own_ending(path)
        file = f"{fitting_name(name)}_seg{end}"
        patient, phase, phases = whose(path, name)
        case = (place / name).as_posix()
        return Scan(path, case, self.folder / place / file, patient or case, phase, phases, fault)

    def _series(self, folders: Sequence[Path]) -> Iterator[Scan]:
        for folder in sorted(folders):
            try:
                series = dicom_series.find(folder) if dicom_series.is_folder(folder) else []
            except InputError as error:
                yield self._scan(folder, str(error))
                continue
            place = Path(os.path.relpath(folder, self.root))
            for one in series:
                own = Path(folder.resolve().name) if place == Path() else place  # as from the folder above
                name = (own if len(series) == 1 else place / one.name).as_posix()
                target = self.folder / f"{name}_seg{self.ending or '.nii.gz'}"
                yield Scan(one, name, target, name)

    def _ours(self, path: Path) -> bool:
        """Whether it lies in the output folder, where that is a folder within the input."""
        output, root = self.folder.resolve(), self.root.resolve()
        return output != root and output.is_relative_to(root) and Path(os.path.realpath(path)).is_relative_to(output)

    def _files(self, root: Path, folders: Sequence[Path]) -> list[Path]:
        there = sorted(path for folder in folders for path in folder.iterdir() if not path.name.startswith("."))
        if other := [path for path in there if path.name.lower().endswith(NOT_READ)]:
            log.warning("%s left out: of a format that is not read, convert to NIfTI", some(other, 1))
        named = [path for path in there if path.name.lower().endswith(self.suffixes)]
        # links to nothing and pipes get their lines, too
        files = [path for path in named if not os.path.isdir(path) and not self._ours(path)]
        stems = {(path.parent, stem(path)) for path in files}

        def is_scan(path: Path) -> bool:
            name = stem(path)
            if name.endswith(("_seg", "_prob", "legend")) and ours(path):
                return False
            if any(name.endswith(end) and (path.parent, name[: -len(end)]) in stems for end in MASK_ENDINGS):
                return False
            cine = self.frames is None and name.endswith("_4d") and (path.parent / "Info.cfg").is_file()
            return not (cine and any(other.name.startswith(f"{name[:-3]}_frame") for other in path.parent.iterdir()))

        return [path for path in files if is_scan(path)]


def _once(found: Sequence[Scan]) -> list[Scan]:
    """Each scan once, whatever was given several times; two names in one folder are two scans."""
    first: dict[str, Scan] = {}
    for scan in found:
        if (other := first.setdefault(id_of(scan.source), scan)).path != scan.path:
            log.warning("%s is %s under another name: segmented once", scan.path, other.path)
    return list(first.values())


def _given(source: Any, suffixes: Sequence[str]) -> list[Path]:
    """The paths that were given, one of them there at least; the others have their lines among the failures."""
    if source is None or source == []:
        raise InputError("no input is given: give a scan or a folder of scans (--input SCAN.nii.gz)")
    given = [Path(str(path)) for path in (source if isinstance(source, list | tuple) else [source])]
    if not any(path.exists() for path in given):
        raise InputError(
            f"{given[0]} is not there: give a {words(suffixes)} file, or a folder of them or of DICOM, as input"
        )
    return given


def words(suffixes: Sequence[str]) -> str:
    return " or ".join((", ".join(suffixes[:-1]), suffixes[-1]))


def _ending(format: str | None, card: Mapping[str, Any]) -> str | None:
    if format is None:
        return None
    end = "." + str(format).lstrip(".")
    if card["pictures"] or end not in volumes.FORMATS:
        raise InputError(f"format is {format!r}: give nii.gz, nrrd or mha (label maps of pictures are PNG)")
    return end


def _common(given: Sequence[Path]) -> Path:
    """The folder that the label maps' tree starts from: the nearest one above all that was given."""
    tops = [path if path.is_dir() else path.parent for path in given]
    return Path(os.path.commonpath([top.absolute() for top in tops])) if len(tops) > 1 else tops[0]


def _of_part(found: Sequence[Scan], part: str, split: str | Path | None) -> list[Scan]:
    if split is None or not Path(split).is_file():
        raise InputError(
            f"part is {part!r}, and {split or 'the network'} is no training run's split.json: leave it out"
        )
    content = read_json(Path(split))
    if part not in content:
        raise InputError(f"part is {part!r}: give one of {', '.join(content)}")
    patients = set(content[part])
    kept = [scan for scan in found if {scan.patient, scan.case, *Path(scan.case).parts} & patients]
    if not kept:
        raise InputError(f"none of {many(len(found), 'scan')} is of a {part} patient of {split}: give that data set")
    return kept
