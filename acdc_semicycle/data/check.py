"""What is wrong with a data set: everything at once, each with its file, before hours of training.

A *fault* stops a training or spoils what it learns; a *warning* may be intended. Files are read as in a training
(``LoadCheckedd``, ``CheckLabeld``), so both agree; one case is in memory at a time. What no file shows cannot be
found, such as a transposed mask of a square plane that keeps its image's affine.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from acdc_semicycle.data import digests
from acdc_semicycle.data.check_cases import Cases
from acdc_semicycle.data.check_findings import Counts, Finding, Rules
from acdc_semicycle.data.check_layout import KINDS, dataset_below, kind, read_records
from acdc_semicycle.datasets import acdc
from acdc_semicycle.datasets.records import Record, existing_folder
from acdc_semicycle.runtime import distributed, environment
from acdc_semicycle.runtime.errors import InputError, many, refuse
from acdc_semicycle.runtime.files import write_text

log = logging.getLogger("semicycle")

SHOWN = 5  # warnings of a kind before a training; the check of a data set shows all


def bar(cases: Sequence[Record]) -> Iterable[Record]:
    """The cases, with a progress bar on a terminal."""
    return tqdm(cases, "checking", disable=None, leave=False)


def check(
    root: str | Path,
    masks: str | Path | None = None,
    classes: Sequence[str] | None = None,
    mask_values: Mapping[Any, Any] | None = None,
    progress: Callable[[Sequence[Record]], Iterable[Record]] = bar,
    counts: Counts | None = None,
    patient: str | None = None,
    dataset: str | None = None,
    **settings: Any,
) -> list[Finding]:
    """Everything wrong with a data set: the faults, then the warnings, each sorted by file.

    Args:
        root: an ACDC tree, a VOC devkit, Cityscapes' layout, or a folder of images and masks.
        masks: of a folder of images, the other folder, of their masks.
        classes: their names, the background first; by default those of the data set, or whatever the masks of a folder
            hold.
        mask_values: the class of each stored value, as in a training.
        progress: wraps the cases while they are read.
        counts: is filled with what was counted.
        patient: of a folder of images, the expression that finds the patient in a name, as in a training.
        dataset: a key of KINDS; by default what the layout shows.
        settings: ``colours``, ``channels`` and ``intensity_range``, where they are not the data set's own.

    Raises:
        InputError: there is no such folder, a public data set lies deeper in it, or mask_values are invalid.
    """
    environment.chosen()
    root = existing_folder(root, "DATASET", "the folder of a data set")
    counts = counts or Counts()
    counts.kind = dataset or ("folder" if masks or patient else kind(root))
    if counts.kind == "folder" and not (dataset or masks or patient):
        nested = dataset_below(root)
        if nested is not None:
            raise InputError(f"{root} is above {nested[0]}, which lies in {nested[1]}: give that folder")
    rules = KINDS[counts.kind]._replace(**settings)
    cases = Cases(rules._replace(classes=classes or rules.classes, values=mask_values or rules.values), counts)
    records = read_records(root, masks, cases, patient)
    return _findings(cases, records, progress)


def check_records(
    records: Sequence[Record],
    progress: Callable[[Sequence[Record]], Iterable[Record]] = bar,
    counts: Counts | None = None,
    **settings: Any,
) -> list[Finding]:
    """The same of the records of a data set that an overlay reads by an expression of its own.

    Args:
        settings: ``classes``, ``colours``, ``values``, ``channels`` and ``intensity_range``, as the training has them.
    """
    environment.chosen()
    return _findings(Cases(KINDS["folder"]._replace(**settings), counts or Counts()), records, progress)


def _findings(
    cases: Cases, records: Sequence[Record], progress: Callable[[Sequence[Record]], Iterable[Record]]
) -> list[Finding]:
    """What is wrong with the records, beside what the cases know of their layout."""
    cases.counts.enter(records)
    for record in progress(records):
        cases.check(record)
    cases.finish()
    return sorted(cases.findings, key=lambda finding: (finding.severity, str(finding.path)))


def read_acdc(root: str | Path) -> list[Record]:
    """ACDC's records; where they cannot be made, the error names everything else that is wrong, too.

    Raises:
        InputError: every fault, a line each.
    """
    try:
        return acdc.records(root)
    except InputError:
        if kind(root) == "acdc":
            faults = [finding.text for finding in check(root) if finding.severity == "fault"]
            refuse(faults, str(root))
        raise


def before_training(
    records: Sequence[Record],
    folder: str | Path,
    dataset: str = "folder",
    **settings: Any,
) -> None:
    """Refuse the images of a training and their masks if they have faults, and name all of them at once.

    Data without faults are not read again as long as no file changes; their warnings are repeated.

    Args:
        records: all that the training uses, for validation and test, too.
        folder: where a file is kept for each data set without a fault, with its warnings.
        dataset: a key of KINDS, or ``"phantom"``.
        settings: ``classes``, ``colours``, ``values``, ``channels`` and ``intensity_range``, as the training has them.

    Raises:
        InputError: every fault, a line each.
    """
    if distributed.rank() == 0:
        # each pair once, though a split by slice has one record for each slice
        pairs = {(record.image, record.label, record.frame): record for record in records}
        rules = KINDS.get("acdc" if dataset == "phantom" else dataset, KINDS["folder"])._replace(**settings)
        for text in _first_of_each_kind(_warnings(list(pairs.values()), rules, Path(str(folder)))):
            log.warning("%s", text)
    distributed.wait()


def _first_of_each_kind(warnings: Sequence[str]) -> Iterator[str]:
    """The first warnings of each kind, which say the same of another file, and how many more there are."""
    counts: Counter[str] = Counter()
    for text in warnings:
        kind = text.partition(" ")[2]
        counts[kind] += 1
        if counts[kind] <= SHOWN:
            yield text
    for kind, count in counts.items():
        if count > SHOWN:
            yield f"{many(count - SHOWN, 'more file')} of which the same holds: {kind}"


def _warnings(records: Sequence[Record], rules: Rules, folder: Path) -> list[str]:
    """The warnings for data without faults: those stored in the folder while no file changes, else found anew."""
    cases = Cases(rules, Counts())
    digest = digests.digest_of(records, list(rules), ("image", "label"))
    if digest is None:  # a file is missing
        return _without_faults(cases, records)
    stamp = folder / f"checked-{digest}.json"
    warnings = _stored_warnings(stamp)
    if warnings is None:
        warnings = _without_faults(cases, records)
        write_text(stamp, json.dumps(warnings))
    return warnings


def _stored_warnings(stamp: Path) -> list[str] | None:
    """The warnings for data that were found without faults before; None where nothing is known."""
    if not stamp.is_file():
        return None
    with suppress(OSError, ValueError):
        warnings = json.loads(stamp.read_text(encoding="utf-8"))
        return warnings if isinstance(warnings, list) else None
    return None


def _without_faults(cases: Cases, records: Sequence[Record]) -> list[str]:
    """The warnings; all faults are raised at once."""
    log.info("checking %s and their masks", many(len(records), "image"))
    for record in bar(records):
        cases.check(record)
    cases.finish()
    texts: dict[str, list[str]] = {"fault": [], "warning": []}
    for finding in cases.findings:
        texts[finding.severity].append(finding.text)
    refuse(sorted(texts["fault"]), "the data set")
    return sorted(texts["warning"])
