"""Whose each scan is: a patient is a folder and a name, so one number at two sites is two patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from acdc_semicycle.inference.scan import Scan


def by_folder(scans: Sequence[Scan]) -> list[Scan]:
    """The scans, with its folder in the name of each patient whose name several folders have.

    Scans that the training knew as one patient's stay one patient's. So do ED alone in one folder and ES alone in
    another: they may be one patient's, and their indices are withheld.
    """
    of_patient: dict[str, list[Scan]] = {}
    for scan in scans:
        of_patient.setdefault(scan.patient, []).append(scan)
    shared = {name for name, same_name in of_patient.items() if _are_several(same_name)}
    result = []
    for scan in scans:
        if scan.patient in shared:
            name = _with_folder(scan)
            scan = replace(scan, patient=name, shared_name=scan.patient)
        result.append(scan)
    return result


def _are_several(scans: Sequence[Scan]) -> bool:
    """Whether scans of one patient's name are of several patients, as far as folders and phases tell."""
    folders = {scan.path.parent.resolve() for scan in scans}
    if len(folders) == 1:
        return False
    return not _known_as_one(scans) and not _complete_each_other(scans, len(folders))


def _known_as_one(scans: Sequence[Scan]) -> bool:
    """Whether the training had each of them as a case of its own, all of one patient."""
    cases = {scan.training_case for scan in scans}
    return None not in cases and len(cases) == len(scans)


def _complete_each_other(scans: Sequence[Scan], folders: int) -> bool:
    """Whether each folder has one phase, which no other has."""
    return folders == len(scans) == len({scan.phase for scan in scans} - {None})


def _with_folder(scan: Scan) -> str:
    """The patient's name with the folder below the root, which a patient of ACDC's layout is called after."""
    folder = Path(scan.case).parent
    if folder.name == scan.patient:
        return folder.as_posix()
    return (folder / scan.patient).as_posix()
