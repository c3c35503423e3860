"""The verbs that run the bundle: train, evaluate, predict."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from acdc_semicycle.commands.arguments import parser_of
from acdc_semicycle.config import no_labels, run_name, training_help
from acdc_semicycle.config.command import VERBOSE, become, run_here, settings_of, verbose_logging, with_notices
from acdc_semicycle.config.locations import overlays_and_options
from acdc_semicycle.config.options import options_of
from acdc_semicycle.runtime import signals

SWITCHES = {
    "flips": "mean over the slices' mirror images, on by default where they were trained on: four times the work",
    "cycle": "paint each scan back and compare, on by default: three times the work of the network",
    "largest": "keep the largest component of each structure, on by default for hearts",
    "holes": "fill what a slice's structures enclose",
    "probabilities": "write the class probabilities, too",
}


def train(arguments: list[str]) -> int:
    """Train a network: the bundle's ``training``; with ``--folds`` several."""
    if not {"-h", "--help"}.isdisjoint(arguments):
        print(training_help.page())
        return 0
    signals.hold_back()  # importing takes seconds, in which Python would just end
    overlays, options = overlays_and_options(with_notices(arguments))
    overlays, options = no_labels.with_overlay(overlays, run_name.with_folder(options))
    if any(option.key == "folds" for option in options_of(options)):
        if not set(VERBOSE).isdisjoint(arguments):
            raise ValueError("-v is for one training: with --folds each fold's output is in its run.log, remove -v")
        from acdc_semicycle.experiments import folds

        return folds.train(overlays, options)
    return become("training", ["train.json", *overlays], options)


def evaluate(arguments: list[str]) -> int:
    """Evaluate the trained network, or label maps of any tool."""
    names = {argument.split("=")[0] for argument in arguments}
    if names.isdisjoint(("--pred", "--truth", "-h", "--help")):
        arguments = with_notices(arguments)
        if "--model" in names:
            return _evaluate_run(arguments)
        overlays, options = overlays_and_options(arguments)
        return become("evaluating", ["train.json", *overlays, "evaluate.json"], options)
    parser = parser_of(
        "evaluate",
        "Dice, IoU, HD95 and ASSD of label maps, and the clinical indices that follow, as evaluation.json and three CSV"
        " files. Without --pred and --truth: semicycle evaluate --model RUN, a run's network on its test patients. For"
        " one without config.yaml: semicycle evaluate [OVERLAY ...] [--KEY VALUE ...], as in its training: see"
        " semicycle train --help.",
    )
    parser.add_argument("--pred", type=Path, required=True, action="append", help="a folder of label maps; twice: two")
    parser.add_argument("--truth", type=Path, help="masks: an ACDC tree, or a folder of files of the same names")
    parser.add_argument("--classes", nargs="+", help="names of the classes, background first")
    parser.add_argument("--mask_values", help="of masks that are pictures: the class of each value, as in a training")
    parser.add_argument("-o", "--output", type=Path, help="where the results go; by default into the first --pred")
    given = parser.parse_args(arguments)
    from acdc_semicycle.evaluation import (  # slow, as all below: only where it is needed
        compare,
        evaluation_files,
        evaluation_table,
        picture_labels,
    )

    target = given.output or (given.pred[0] if given.pred[0].is_dir() else given.pred[0].parent)
    evaluation_files.check_target(target, given.truth)
    mask_values = None if given.mask_values is None else picture_labels.values_of(given.mask_values)
    content = compare.compare(given.pred, given.truth, given.classes, mask_values)
    evaluation_files.write(content, target)
    print(evaluation_table.table(content))
    print(target / "evaluation.json")
    return 1 if content["failures"] else 0


def _evaluate_run(arguments: list[str]) -> int:
    """Evaluate the network of a run's folder on the data of its own configuration."""
    from acdc_semicycle.config import run_config

    options = list(options_of(arguments))
    overlays = [option.word for option in options if option.key is None]
    if overlays:
        raise ValueError(
            f"{overlays[0]!r} and --model are given: the run has its own configuration, remove one of them"
        )
    model = [option.value for option in options if option.key == "model"][-1]
    if model is None:
        raise ValueError("--model has no value: give --model FOLDER, a run's folder")
    overlays_and_options(arguments)  # refuses an option without its value
    run = run_config.run_folder(model)
    words = [f"--{option.key}={option.value}" for option in options if option.key != "model"]
    files = ["train.json", str(run / run_config.FILE), "evaluate.json"]
    return become("evaluating", files, [*run_config.options_for(run), *words])


def predict(arguments: list[str]) -> int:
    """Segment scans."""
    parser = parser_of(
        "predict", "Segment scans, each on its own grid; any key of inference.json can follow as --KEY VALUE."
    )
    parser.add_argument(
        "scans",
        nargs="*",
        type=Path,
        help="NIfTI, NRRD, MetaImage, DICOM folders, pictures, folders of all; by default what --model was trained on",
    )
    parser.add_argument("-o", "--output_dir", type=Path, default=Path("predictions"), help="by default predictions/")
    parser.add_argument(
        "--model",
        "--checkpoint",
        type=Path,
        help="model.pt, a run's folder, a folder of folds, a zip of export, or pretrained; by default that of the"
        " output folder, else the only one below runs/ that fits, else the pretrained one",
    )
    parser.add_argument(
        "--frames", choices=["all", "ed_es"], help="of a cine: every frame, or end-diastole and -systole"
    )
    parser.add_argument("--format", choices=["nii.gz", "nrrd", "mha"], help="by default each scan's own")
    parser.add_argument("--part", help="only patients of this part of the network's own split, such as test")
    for name, words in SWITCHES.items():
        parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, help=words)
    parser.add_argument(*VERBOSE, action="store_true", help="with MONAI's own notices")
    given, more = parser.parse_known_args(arguments)
    values = vars(given)
    scans = values.pop("scans") or [_images_of(given.model)]
    settings: dict[str, Any] = {"input": scans, "output_dir": values.pop("output_dir")}
    if (model := values.pop("model")) is not None:
        settings["checkpoint"] = model
    if values.pop("verbose"):
        settings["logging_file"] = verbose_logging()
    settings |= {key: value for key, value in values.items() if value is not None}
    return run_here(None, ["inference.json"], settings, settings_of(more, SWITCHES))


def _images_of(model: Path | None) -> Path:
    """The images that a run was trained on, for a prediction that names no others."""
    from acdc_semicycle.config import run_config

    if model is None:
        raise ValueError("no scans are given: give SCANS, or --model, a run's folder: see semicycle predict --help")
    return run_config.images_of(run_config.run_folder(model))
