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

from acdc_semicycle.data import digests, training_ranges
from acdc_semicycle.data.check_cases import Cases
from acdc_semicycle.data.check_findings import Counts, Finding, Rules
from acdc_semicycle.data.check_layout import KINDS, dataset_below, kind, read_records
from acdc_semicycle.data.fingerprint import Fingerprint
from acdc_semicycle.data.training_ranges import Facts
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
    trained_on: Sequence[Record] = (),
    **settings: Any,
) -> dict[str, Any] | None:
    """Refuse the images of a training and their masks if they have faults, and name all of them at once.

    Data without faults are not read again as long as no file changes; their warnings are repeated.

    Args:
        records: all that the training uses, for validation and test, too.
        folder: where a file is kept for each data set without a fault, with its warnings.
        dataset: a key of KINDS, or ``"phantom"``.
        trained_on: those of the records that are trained on.
        settings: ``classes``, ``colours``, ``values``, ``channels`` and ``intensity_range``, as the training has them.

    Returns:
        The ranges of what is trained on (:mod:`acdc_semicycle.data.training_ranges`); None where none of it is among
        the records, and in all processes but the first.

    Raises:
        InputError: every fault, a line each.
    """
    ranges = None
    if distributed.rank() == 0:
        # each pair once, though a split by slice has one record for each slice
        pairs = {_pair(record): record for record in records}
        rules = KINDS.get("acdc" if dataset == "phantom" else dataset, KINDS["folder"])._replace(**settings)
        warnings, facts = _checked(list(pairs.values()), rules, Path(str(folder)))
        for text in _first_of_each_kind(warnings):
            log.warning("%s", text)
        trained_pairs = set(map(_pair, trained_on))
        seen = [fact for pair, fact in zip(pairs, facts, strict=True) if pair in trained_pairs]
        ranges = training_ranges.ranges_of(seen) if seen else None
    distributed.wait()
    return ranges


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


def _pair(record: Record) -> tuple[Path, Path | None, int | None]:
    """What tells one image, with its mask, from all others."""
    return record.image, record.label, record.frame


def _checked(records: Sequence[Record], rules: Rules, folder: Path) -> tuple[list[str], list[Facts]]:
    """The warnings for data without faults, and the facts of each record.

    They are those stored in the folder while no file changes, else found anew.
    """
    cases = Cases(rules, Counts(fingerprint=Fingerprint()))
    digest = digests.digest_of(records, list(rules), ("image", "label"))
    if digest is None:  # a file is missing
        return _without_faults(cases, records)
    stamp = folder / f"checked-{digest}.json"
    stored = _stored(stamp)
    if stored is not None and len(stored[1]) == len(records):
        return stored
    warnings, facts = _without_faults(cases, records)
    write_text(stamp, json.dumps({"warnings": warnings, "facts": facts}))
    return warnings, facts


def _stored(stamp: Path) -> tuple[list[str], list[Facts]] | None:
    """The same of data that were found without faults before; None where nothing is known."""
    if not stamp.is_file():
        return None
    with suppress(OSError, ValueError, TypeError, KeyError):
        content = json.loads(stamp.read_text(encoding="utf-8"))
        return content["warnings"], [Facts(*fact) for fact in content["facts"]]
    return None


def _without_faults(cases: Cases, records: Sequence[Record]) -> tuple[list[str], list[Facts]]:
    """The warnings, and the facts of each record; all faults are raised at once."""
    log.info("checking %s and their masks", many(len(records), "image"))
    for record in bar(records):
        cases.check(record)
    cases.finish()
    texts: dict[str, list[str]] = {"fault": [], "warning": []}
    for finding in cases.findings:
        texts[finding.severity].append(finding.text)
    refuse(sorted(texts["fault"]), "the data set")
    assert cases.counts.fingerprint is not None, "_checked sets it"
    facts = [Facts(case.size, case.spacing_mm, case.intensities) for case in cases.counts.fingerprint.cases]
    return sorted(texts["warning"]), facts
