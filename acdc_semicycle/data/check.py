"""What is wrong with a data set, all of it at once and each with its file, before hours of training.

A *fault* stops a training or spoils what it learns; a *warning* may be meant so. Files are read as a training reads
them (``LoadCheckedd``, ``CheckLabeld``), so both say the same; one case is in memory at a time. What no file tells
cannot be found: a mask of a square plane that was transposed and keeps its image's affine.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from acdc_semicycle.data import digests
from acdc_semicycle.data.check_cases import Cases
from acdc_semicycle.data.check_findings import Counts, Finding
from acdc_semicycle.data.check_layout import KINDS, acdc_records, kind, other_records
from acdc_semicycle.datasets import acdc
from acdc_semicycle.datasets.records import Record, existing_folder
from acdc_semicycle.runtime import distributed, environment
from acdc_semicycle.runtime.errors import InputError, refuse
from acdc_semicycle.runtime.files import write_text

log = logging.getLogger("semicycle")


def bar(cases: Sequence[Record]) -> Iterable[Record]:
    """The cases, with a progress bar where somebody looks."""
    return tqdm(cases, "checking", disable=None, leave=False)


def check(
    root: str | Path,
    masks: str | Path | None = None,
    classes: Sequence[str] | None = None,
    mask_values: Mapping[Any, Any] | None = None,
    progress: Callable[[Sequence[Record]], Iterable[Record]] = bar,
    counts: Counts | None = None,
) -> list[Finding]:
    """Everything wrong with a data set: the faults, then the warnings, each sorted by file.

    Args:
        root: an ACDC tree, a VOC devkit, Cityscapes' layout, or a folder of images and masks.
        masks: of a folder of images, the other folder, of their masks.
        classes: their names, the background first; by default the data set's, of a folder whatever its masks hold.
        mask_values: the class of each stored value, as in a training.
        progress: what the cases go through on their way.
        counts: is filled with what was looked at.

    Raises:
        InputError: no such folder, or mask_values that are none.
    """
    environment.chosen()
    root = existing_folder(root, "DATASET", "the folder of a data set")
    counts = counts or Counts()
    counts.kind = "folder" if masks else kind(root)
    rules = KINDS[counts.kind]
    cases = Cases(rules._replace(classes=classes or rules.classes, values=mask_values or rules.values), counts)
    if counts.kind == "acdc":
        records = acdc_records(root, cases)
    else:
        records = other_records(root, masks, cases)
    counts.patients, counts.images = len({record.patient for record in records}), len(records)
    counts.masks = sum(record.label is not None for record in records)
    for record in progress(records):
        cases.check(record)
    cases.check_classes()
    return sorted(cases.findings, key=lambda finding: (finding.severity, str(finding.path)))


def read_acdc(root: str | Path) -> list[Record]:
    """ACDC's records; where these cannot be made, nothing is trained, and all else that is wrong is named, too.

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
    """Refuse the images of a training and their masks, all that is wrong with them at once.

    What was found faultless is not read again as long as no file changes; its warnings are said again.

    Args:
        records: those that are trained on, validated or tested.
        folder: keeps a file for each data set without a fault, with its warnings.
        dataset: a key of KINDS, or ``"phantom"``.
        settings: ``classes``, ``colours``, ``values`` and ``intensity_range``, as the training has them.

    Raises:
        InputError: every fault, a line each.
    """
    if distributed.rank() == 0:
        records = list({(record.image, record.label): record for record in records}.values())  # split by slice: once
        rules = KINDS.get("acdc" if dataset == "phantom" else dataset, KINDS["folder"])._replace(**settings)
        digest = digests.digest_of(records, list(rules), ("image", "label"))  # None where a file is missing
        stamp = Path(str(folder)) / f"checked-{digest}.json"
        warnings = _warnings(stamp) if digest else None
        if warnings is None:
            warnings = _without_faults(Cases(rules, Counts()), records)
            if digest:
                write_text(stamp, json.dumps(warnings))
        for text in warnings:
            log.warning("%s", text)
    distributed.wait()


def _warnings(stamp: Path) -> list[str] | None:
    """The warnings of files that were found faultless; None where that is not known."""
    if not stamp.is_file():
        return None
    with suppress(OSError, ValueError):
        warnings = json.loads(stamp.read_text(encoding="utf-8"))
        return warnings if isinstance(warnings, list) else None
    return None


def _without_faults(cases: Cases, records: Sequence[Record]) -> list[str]:
    """The warnings; where there are faults these are raised, all at once."""
    for record in bar(records):
        cases.check(record)
    cases.check_classes()
    texts: dict[str, list[str]] = {"fault": [], "warning": []}
    for finding in cases.findings:
        texts[finding.severity].append(finding.text)
    refuse(sorted(texts["fault"]), "the data set")
    return sorted(texts["warning"])
