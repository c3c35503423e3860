"""Which scans a prediction is asked for, what each is called, whose it is, and where its label map goes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from acdc_semicycle.datasets import case_patients, unread
from acdc_semicycle.datasets.records import MASK_ENDING
from acdc_semicycle.imageio import dicom_series, volumes
from acdc_semicycle.imageio.pictures import PICTURES, is_picture
from acdc_semicycle.inference.label_maps import check_target, ours
from acdc_semicycle.inference.patients import by_folder
from acdc_semicycle.inference.reading import in_words
from acdc_semicycle.inference.scan import Scan, fitting_name, id_of, own_ending, stem, told_apart, whose
from acdc_semicycle.runtime.errors import InputError, many
from acdc_semicycle.runtime.files import read_json
from acdc_semicycle.runtime.search import folders_below, visible

log = logging.getLogger("semicycle")

FRAMES = (None, "all", "ed_es")


class Scans:
    """The scans, or the pictures, below one path or several; only names and DICOM headers are read.

    A folder is searched with its subfolders. Masks beside their image (``X_gt``, ``X_mask``, ``X.seg`` and so on) are
    left out, and so is the cine (``_4d``) of an ACDC patient whose frames are there, unless ``frames`` asks for cines.

    Args:
        source: .nii, .nii.gz, .nrrd, .mha or .mhd files, or folders of them or of DICOM series, one or a list; pictures
            for a network of pictures.
        folder: where the label maps go; if it lies below ``source``, it is not searched.
        card: of the network: whether it takes pictures, and the names and colours of its classes.
        frames: of a cine: ``"all"`` (one label map of all frames), ``"ed_es"`` (one each of end-diastole and
            end-systole), or None, which is all, unless the patient's frames are there as files.
        format: of the label maps, ``nii.gz``, ``nrrd`` or ``mha``; by default each scan's own.
        part: only patients of this part of ``split``.
        split: a training run's split.json; by the patients.json beside it each scan of that training has its patient.

    Attributes:
        asked_for: where ``part`` is given: ``parts``, the part alone, and its ``patients`` and ``cases``.

    Raises:
        InputError: no source, nothing there, or no scan in it.
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
        self.unread = unread.PICTURES if card["pictures"] else unread.SCANS
        self.ending = _ending(format, card)
        if frames not in FRAMES:
            raise InputError(f"frames is {frames!r}: give all or ed_es")
        paths = _paths(source, self.suffixes)
        if card["pictures"]:
            check_target(self.legend)
        self.root = _root(paths)
        self.patients = case_patients.load(split)
        scans: list[Scan] = []
        for path in paths:
            scans += self._below(path)
        scans = by_folder(_once(scans))
        self.asked_for = None
        if part is not None:
            scans = _of_part(scans, part, split)
            self.asked_for = _asked_for(part, split, self.patients)
        _check_any_without_fault(scans)
        self.listed = told_apart(scans)

    @property
    def legend(self) -> Path:
        """Where the legend of label maps of pictures goes."""
        return self.folder / "legend.png"

    def _below(self, path: Path) -> list[Scan]:
        """The scan of a file, or those below a folder; a folder without any is one with a fault."""
        if not path.is_dir():
            return [self._scan(path)]
        folders, errors = folders_below(path, self._is_output)
        scans = [self._scan(file) for file in self._files(folders)]
        if not self.card["pictures"]:
            scans += self._series(folders)
        for error in errors:
            fault = f"{error.filename} cannot be listed ({error.strerror}): give a folder that can be read"
            scans.append(self._scan(Path(error.filename), fault))
        if not scans:
            series = "" if self.card["pictures"] else " and no DICOM series"
            fault = f"{path} holds no {in_words(self.suffixes)} file{series}: give a folder of them"
            scans.append(self._scan(path, fault))
        return scans

    def _scan(self, path: Path, fault: str | None = None) -> Scan:
        """A file as a scan, or a path that cannot be one and why."""
        name = stem(path)
        below_root = Path(os.path.relpath(path.parent, self.root))
        ending = ".png" if is_picture(path) else self.ending or own_ending(path)
        target = self.folder / below_root / f"{fitting_name(name)}_seg{ending}"
        patient, phase, phases = whose(path, name)
        training_case = case_patients.case_of(self.patients, path.parent, name)
        if training_case is not None:
            patient = self.patients[training_case]
        case = (below_root / name).as_posix()
        return Scan(path, case, target, patient or case, phase, phases, fault or self._fault(path), training_case)

    def _fault(self, path: Path) -> str | None:
        """Why a path cannot be a scan by its name, if so."""
        if path.suffix.lower() in dicom_series.ENDINGS and not path.name.lower().endswith(self.suffixes):
            return f"{path} is one file of a DICOM series: give its folder"
        return None

    def _series(self, folders: Sequence[Path]) -> Iterator[Scan]:
        """The DICOM series in the folders, each a scan."""
        series_of: dict[Path, list[dicom_series.Series]] = {}
        for folder in sorted(folders):
            try:
                series_of[folder] = dicom_series.find(folder) if dicom_series.is_folder(folder) else []
            except InputError as error:
                yield self._scan(folder, str(error))
        for folder, all_series in _with_stacks(series_of).items():
            below_root = Path(os.path.relpath(folder, self.root))
            for series in all_series:
                name = below_root / series.name
                if len(all_series) == 1:  # has the folder's name, the same whether that folder or one above is given
                    name = Path(folder.resolve().name) if below_root == Path() else below_root
                case = name.as_posix()
                yield Scan(series, case, self.folder / f"{case}_seg{self.ending or '.nii.gz'}", case)

    def _is_output(self, path: Path) -> bool:
        """Whether a path lies in the output folder, where that is a folder within the input."""
        output, root = self.folder.resolve(), self.root.resolve()
        return output != root and output.is_relative_to(root) and Path(os.path.realpath(path)).is_relative_to(output)

    def _files(self, folders: Sequence[Path]) -> list[Path]:
        """The files in the folders that are scans by their names; also links to nothing and pipes, which fail later."""
        paths = sorted(visible(folders))
        unread.warn([path for path in paths if path.name.lower().endswith(self.unread)])
        files = [path for path in paths if self._is_named_like_a_scan(path)]
        stems = {(path.parent, stem(path)) for path in files}
        return [path for path in files if not _is_label_map(path, stems) and not self._is_cine_beside_frames(path)]

    def _is_named_like_a_scan(self, path: Path) -> bool:
        """Whether a file has the name of a scan that is read, and does not lie in the output folder."""
        name = path.name.lower()
        if name.endswith(self.unread) or not name.endswith(self.suffixes):
            return False
        return not os.path.isdir(path) and not self._is_output(path)

    def _is_cine_beside_frames(self, path: Path) -> bool:
        """Whether a file is the cine of an ACDC patient whose frames are there, and cines are not asked for."""
        name = stem(path)
        if self.frames is not None or not name.endswith("_4d") or not (path.parent / "Info.cfg").is_file():
            return False
        start = f"{name.removesuffix('_4d')}_frame"
        return any(neighbour.name.startswith(start) for neighbour in path.parent.iterdir())


def _with_stacks(series_of: Mapping[Path, list[dicom_series.Series]]) -> dict[Path, list[dicom_series.Series]]:
    """The series of each folder; slices with a folder each, one behind the other, are one scan of the folder above."""
    result = {folder: list(all_series) for folder, all_series in series_of.items()}
    alone: dict[Path, list[dicom_series.Series]] = {}
    for folder, all_series in series_of.items():
        if len(all_series) == 1:
            alone.setdefault(folder.parent, []).extend(all_series)
    for parent, candidates in alone.items():
        stacks = [series for series in dicom_series.stacked(candidates, parent) if series not in candidates]
        for stack in stacks:
            files = {path for frame in stack.files for path in frame}
            for series in candidates:
                if series.files[0][0] in files:
                    result[series.folder] = []
            result.setdefault(parent, []).append(stack)
    return dict(sorted(result.items()))


def _check_any_without_fault(scans: Sequence[Scan]) -> None:
    """Refuse scans that all have a fault."""
    if all(scan.fault for scan in scans):
        raise InputError("\n  ".join(str(scan.fault) for scan in scans))


def _is_label_map(path: Path, stems: set[tuple[Path, str]]) -> bool:
    """Whether a file is a label map: one that this program wrote, or one beside its image.

    Args:
        stems: folder and name of all files, without endings.
    """
    name = stem(path)
    if name.endswith(("_seg", "_prob", "legend")) and ours(path):
        return True
    image = MASK_ENDING.sub("", name)
    return image != name and not stems.isdisjoint({(path.parent, image), (path.parent, f"{image}_0000")})


def _once(scans: Sequence[Scan]) -> list[Scan]:
    """Each scan once, even if it was given several times; two names in one folder are two scans."""
    first: dict[str, Scan] = {}
    for scan in scans:
        same = first.setdefault(id_of(scan.source), scan)
        if same.path != scan.path:
            log.warning("%s is %s under another name: segmented once", scan.path, same.path)
    return list(first.values())


def _paths(source: Any, suffixes: tuple[str, ...]) -> list[Path]:
    """The paths of a source; one of them must exist, the others are reported among the failures."""
    if source is None or source == []:
        raise InputError("no input is given: give a scan or a folder of scans (--input SCAN.nii.gz)")
    sources = source if isinstance(source, list | tuple) else [source]
    paths = [Path(str(path)) for path in sources]
    if not any(path.exists() for path in paths):
        raise InputError(
            f"{paths[0]} is not there: give a {in_words(suffixes)} file, or a folder of them or of DICOM, as input"
        )
    return paths


def _ending(format: str | None, card: Mapping[str, Any]) -> str | None:
    """The ending of all label maps; None where each has its scan's own."""
    if format is None:
        return None
    ending = "." + str(format).lstrip(".")
    if card["pictures"] or ending not in volumes.FORMATS:
        raise InputError(f"format is {format!r}: give nii.gz, nrrd or mha (label maps of pictures are PNG)")
    return ending


def _root(paths: Sequence[Path]) -> Path:
    """The folder that the label maps' tree starts from: the nearest one above all scans."""
    folders = [path if path.is_dir() else path.parent for path in paths]
    return folders[0] if len(folders) == 1 else Path(os.path.commonpath([folder.absolute() for folder in folders]))


def _of_part(scans: Sequence[Scan], part: str, split: str | Path | None) -> list[Scan]:
    """The scans whose patient, case or folder is in a part of a split; scans that fail are kept to be reported."""
    patients = _patients(part, split)
    chosen, failing = [], []
    for scan in scans:
        if scan.fault or not scan.path.exists():
            failing.append(scan)
        elif not patients.isdisjoint({scan.patient, scan.case, *Path(scan.case).parts, scan.shared_name}):
            chosen.append(scan)
    _check_one_each(chosen, part, split)
    if not chosen:
        readable = many(len(scans) - len(failing), "scan")
        raise InputError(
            f"none of {readable} is of a {part} patient of {split}: give that data set, or name the network by --model"
        )
    return chosen + failing


def _check_one_each(scans: Sequence[Scan], part: str, split: str | Path | None) -> None:
    """Refuse scans of several patients of one name: the split has one of them, and does not say which."""
    first: dict[str, Scan] = {}
    for scan in scans:
        other = first.setdefault(scan.shared_name or scan.patient, scan)
        if other.patient != scan.patient:
            raise InputError(
                f"{other.path} and {scan.path} are both of a {part} patient {scan.shared_name} of {split}, which has"
                " one: give the data set of that training alone"
            )


def _asked_for(part: str, split: str | Path | None, patients: Mapping[str, str]) -> dict[str, list[str]]:
    """A part of a split, its patients, and their cases by the ``patients`` of the training's cases."""
    of_part = _patients(part, split)
    cases = [case for case, patient in patients.items() if patient in of_part]
    return {"parts": [part], "patients": sorted(of_part), "cases": sorted(cases)}


def _patients(part: str, split: str | Path | None) -> set[str]:
    """The patients of a part of a training run's split.json."""
    if split is None or not Path(split).is_file():
        raise InputError(
            f"part is {part!r}, and {split or 'the network'} is no training run's split.json: leave it out"
        )
    content = read_json(Path(split))
    if part not in content:
        raise InputError(f"part is {part!r}: give one of {', '.join(content)}")
    return set(content[part])
