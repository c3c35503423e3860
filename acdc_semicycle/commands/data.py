"""The verbs that look at a data set: check, plan, next; and the demo, which draws one."""

from __future__ import annotations

import argparse
from pathlib import Path

from acdc_semicycle.commands.arguments import add_data_keys, parser_of, show
from acdc_semicycle.config import data_keys
from acdc_semicycle.config.command import settings_of

TERMS = {  # of annotation.ranking
    "quality": "prefer patients whose segmentation may be bad, on by default",
    "disagreement": "prefer those on whom folds, or turned images, disagree, on by default",
    "diversity": "prefer those unlike all who are annotated or chosen, on by default",
}


def check(arguments: list[str]) -> int:
    """Name all that is wrong with a data set."""
    parser = parser_of(
        "check",
        "Name all that is wrong with a data set; exit code 1 if anything would stop a training. Give the folder, or the"
        " overlays and keys of the training: semicycle check own_scans --images IMAGES --masks MASKS.",
    )
    parser.add_argument(
        "dataset", nargs="*", help="ACDC, VOCdevkit, Cityscapes, or a folder of images and masks; else overlays"
    )
    add_data_keys(parser)
    given, others = parser.parse_known_args(arguments)
    data_keys.check_keys(others, "check takes overlays")
    from acdc_semicycle.config import data_check
    from acdc_semicycle.data import check_findings, check_report

    options = {key: value for key, value in vars(given).items() if value is not None}
    counts = check_findings.Counts()
    findings = data_check.findings_of(options.pop("dataset"), options, counts)
    print(check_report.report(findings, counts))
    return check_report.status(findings)


def plan(arguments: list[str]) -> int:
    """Find what is in a data set, and write an overlay that trains on it."""
    parser = parser_of(
        "plan",
        "What was found in a data set, what will be done with it and how long that takes here. It writes an overlay, to"
        " be edited: semicycle train few plan.yaml.",
    )
    parser.add_argument(
        "dataset",
        nargs="?",
        help="ACDC, VOCdevkit, Cityscapes, nnU-Net's raw layout, the Decathlon, or a folder of images and masks",
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("plan.yaml"), help="by default plan.yaml")
    parser.add_argument("--minutes", help="that the training may take")
    parser.add_argument("--labelled", help="patients with masks that are used: a number, or a fraction")
    add_data_keys(parser)
    given, others = parser.parse_known_args(arguments)
    data_keys.check_keys(others, "plan takes a folder, -o, --minutes, --labelled")
    from acdc_semicycle.config import plan as planning

    options = {key: value for key, value in vars(given).items() if value is not None}
    show(planning.lines(options.pop("dataset", None), options.pop("output"), options))
    return 0


def next_patients(arguments: list[str]) -> int:
    """Choose whom to annotate next, and write drafts to mend."""
    parser = parser_of(
        "next",
        "Whom to annotate next, by what that is worth to the network of RUN, and which of their slices to mend first."
        " It writes drafts on the scans' own grids, drafts.json, drafts.csv and a picture of all. No image is copied.",
    )
    parser.add_argument("run", type=Path, help="what --model takes: a run's folder, folds, model.pt, a zip, pretrained")
    parser.add_argument(
        "dataset", type=Path, help="ACDC, nnU-Net's raw layout, the Decathlon, images/ and masks/, or a folder of scans"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("drafts"), help="by default drafts/")
    parser.add_argument("--patients", type=int, default=3, help="to annotate, by default 3")
    parser.add_argument("--slices", type=int, default=3, help="of each scan, to be mended first, by default 3")
    for name, words in TERMS.items():
        parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, help=words)
    for key in ("masks", "patient"):
        parser.add_argument(f"--{key}", help=data_keys.KEYS[key])
    given = parser.parse_args(arguments)
    from acdc_semicycle.annotation import next_patients as choosing

    terms = dict(choosing.DEFAULT)
    for name in TERMS:
        if getattr(given, name) is not None:
            terms[name] = getattr(given, name)
    wishes = choosing.Wishes(given.patients, given.slices, terms, given.masks, given.patient)
    show(choosing.lines(given.run, given.dataset, given.output, wishes))
    return 0


def demo(arguments: list[str]) -> int:
    """Show the whole loop on drawn hearts."""
    parser = parser_of(
        "demo",
        "No data needed: drawn hearts, three of them annotated, are planned, learnt from, segmented, mended where it"
        " pays most, learnt from again and put on a page. Each step is a semicycle command, printed before it runs."
        " Any key of a training can follow as --KEY VALUE.",
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("demo"), help="a new folder, by default demo/")
    given, options = parser.parse_known_args(arguments)
    settings_of(options)  # refuses what is no --KEY VALUE
    from acdc_semicycle.experiments import demo as story

    show(story.tell(given.output, options))
    return 0
