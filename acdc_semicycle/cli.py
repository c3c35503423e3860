"""The command line: what the bundle does, and what can be done with its results.

semicycle demo [-o demo]                             no data needed: the whole loop on drawn hearts, in five minutes
semicycle train [OVERLAY ...] [--KEY VALUE ...]      e.g.  semicycle train small --dataset_dir PATH
semicycle train ... --name WORD                      the run's folder is runs/WORD
semicycle train ... --folds 3 (or leave-one-out)     each labelled patient scored by one not trained on them
semicycle evaluate --model RUN [--KEY VALUE ...]     a run's network, on the data that it set aside in training
semicycle evaluate --pred OUT --truth TRUTH          label maps, whoever made them, against the truth or each other
semicycle predict SCANS ... -o OUT [--model MODEL]   files, folders, an ACDC tree, DICOM folders; --help for more
semicycle report OUT                                 report.html, figures, CSV and JSON of what predict left in OUT
semicycle calibrate OUT [--test OUT]                 fit the quality without truth, which predict then gives each case
semicycle check DATASET                              what is wrong with a data set, before hours of training
semicycle check [OVERLAY ...] [--KEY VALUE ...]      the same, in the words of the training
semicycle plan DATASET [-o plan.yaml]                what was found, what will be done, how long; an overlay for train
semicycle next RUN DATASET -o DRAFTS                 whom to annotate next, which slices, and drafts to mend
semicycle export [--model MODEL] -o FOLDER           TorchScript, ONNX, and the bundle as one zip for others
semicycle compare RUNS ... [-o FOLDER]               trained runs side by side: settings that differ, scores, curves
semicycle table [OVERLAY ...] --data acdc=PATH ...   Tables 1 and 2 of the paper; semicycle table --help
semicycle where                                      the folders of the bundle and of the overlays

An overlay is a file, or the name of a shipped one; a key is any of the bundle's configuration (docs/settings.md).
semicycle train --help lists them.
train, evaluate and predict run the bundle, and print its command.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from acdc_semicycle import __version__
from acdc_semicycle.config import data_keys, no_labels, run_name, training_help
from acdc_semicycle.config.command import VERBOSE, become, run_here, settings_of, verbose_logging, with_notices
from acdc_semicycle.config.locations import folder, overlays_and_options
from acdc_semicycle.config.options import options_of
from acdc_semicycle.runtime import signals
from acdc_semicycle.runtime.console import print_any_name
from acdc_semicycle.runtime.environment import name_user
from acdc_semicycle.runtime.errors import speak_in_turn


def main() -> int:
    """Run the verb of ``sys.argv``; its exit code."""
    print_any_name()
    name_user()
    verb, *rest = sys.argv[1:] or ["--help"]
    if _asks_for_help(verb, rest):
        print(__doc__)
        return 0
    if verb == "--version":
        print(__version__)
        return 0
    if verb not in VERBS:
        print(f"error: {verb!r} is no verb: give {', '.join(VERBS)}", file=sys.stderr)
        return 2
    return _exit_code(VERBS[verb], rest)


def _asks_for_help(verb: str, arguments: list[str]) -> bool:
    """Whether this page is asked for; the verbs with options of their own have pages of their own."""
    help_words = {"-h", "--help"}
    return verb in help_words or (verb == "where" and not help_words.isdisjoint(arguments))


def _exit_code(run: Callable[[list[str]], int], arguments: list[str]) -> int:
    """Run a verb; its exit code, or that of the error that ends it, which is shown in one line."""
    try:
        return run(arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        speak_in_turn()
        reason = str(error)
        if isinstance(error, OSError) and error.filename:
            reason = f"{error.filename}: {error.strerror}"
        print(f"error: {reason}", file=sys.stderr)
        return 2


def where(arguments: list[str]) -> int:
    """Print the folders of the bundle and of the overlays."""
    print(folder("bundles/semicycle"), folder("configs"), sep="\n")
    return 0


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
    parser = _parser(
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
    parser = _parser(
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


def report(arguments: list[str]) -> int:
    """Write the page of a folder of predictions."""
    parser = _parser("report", "One page to open in a browser, of what predict and evaluate have left in a folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--title", help="of the page; by default the data set and the network")
    given = parser.parse_args(arguments)
    from acdc_semicycle.report import page

    print(page.write(given.folder, given.title))
    return 0


def calibrate(arguments: list[str]) -> int:
    """Fit the quality without truth."""
    parser = _parser(
        "calibrate",
        "Fit the quality without truth on validation cases, predicted (--part validation) and evaluated, and store it"
        " beside the network; predict, given again, then has it.",
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--test", type=Path, help="a folder of other cases, on which the fitted quality is measured")
    given = parser.parse_args(arguments)
    from acdc_semicycle.evaluation import calibrate as fitting

    print(fitting.calibrate(given.folder, given.test))
    return 0


def check(arguments: list[str]) -> int:
    """Name all that is wrong with a data set."""
    parser = _parser(
        "check",
        "Name all that is wrong with a data set; exit code 1 if anything would stop a training. Give the folder, or the"
        " overlays and keys of the training: semicycle check own_scans --images IMAGES --masks MASKS.",
    )
    parser.add_argument(
        "dataset", nargs="*", help="ACDC, VOCdevkit, Cityscapes, or a folder of images and masks; else overlays"
    )
    _add_data_keys(parser)
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
    parser = _parser(
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
    _add_data_keys(parser)
    given, others = parser.parse_known_args(arguments)
    data_keys.check_keys(others, "plan takes a folder, -o, --minutes, --labelled")
    from acdc_semicycle.config import plan as planning

    options = {key: value for key, value in vars(given).items() if value is not None}
    for line in planning.lines(options.pop("dataset", None), options.pop("output"), options):
        print(line, flush=True)
    return 0


def next_patients(arguments: list[str]) -> int:
    """Choose whom to annotate next, and write drafts to mend."""
    parser = _parser(
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
    for line in choosing.lines(given.run, given.dataset, given.output, wishes):
        print(line, flush=True)
    return 0


def demo(arguments: list[str]) -> int:
    """Show the whole loop on drawn hearts."""
    parser = _parser(
        "demo",
        "No data needed: drawn hearts, three of them annotated, are planned, learnt from, segmented, mended where it"
        " pays most, learnt from again and put on a page. Each step is a semicycle command, printed before it runs."
        " Any key of a training can follow as --KEY VALUE.",
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("demo"), help="a new folder, by default demo/")
    given, options = parser.parse_known_args(arguments)
    settings_of(options)  # refuses what is no --KEY VALUE
    from acdc_semicycle.experiments import demo as story

    for line in story.tell(given.output, options):
        print(line, flush=True)
    return 0


def export(arguments: list[str]) -> int:
    """Export a network for other programs."""
    parser = _parser(
        "export", "TorchScript, ONNX and a zip of the bundle, each compared with the network on real slices."
    )
    parser.add_argument("--model", type=Path, help="model.pt or a run's folder; by default the only one below runs/")
    parser.add_argument("-o", "--output_dir", type=Path, required=True)
    parser.add_argument("--scans", type=Path, nargs="+", default=[], help="to compare on; by default the phantom's")
    given = parser.parse_args(arguments)
    from acdc_semicycle.artifacts import export as exporting

    print(exporting.main(given.model, given.output_dir, given.scans))
    return 0


def compare(arguments: list[str]) -> int:
    """Lay training runs side by side."""
    parser = _parser(
        "compare",
        "Training runs side by side: patients, settings that differ, scores with the paired difference to the first"
        " run, minutes, learning curves. Printed, and written as comparison.html, comparison.csv, comparison.json.",
    )
    parser.add_argument("runs", nargs="+", type=Path, help="a run's folder, a folder of folds, or one that holds runs")
    parser.add_argument("-o", "--output", type=Path, default=Path("comparison"), help="by default comparison/")
    given = parser.parse_args(arguments)
    from acdc_semicycle.report import comparison

    text, failed = comparison.compare(given.runs, given.output)
    print(text)
    print(given.output / "comparison.html")
    return 1 if failed else 0


def table(arguments: list[str]) -> int:
    """Run the experiments of the paper's tables."""
    from acdc_semicycle.experiments import command

    return command.main(arguments)


SWITCHES = {
    "flips": "mean over the slices' mirror images, on by default where they were trained on: four times the work",
    "cycle": "paint each scan back and compare, on by default: three times the work of the network",
    "largest": "keep the largest component of each structure, on by default for hearts",
    "holes": "fill what a slice's structures enclose",
    "probabilities": "write the class probabilities, too",
}
TERMS = {  # of annotation.ranking
    "quality": "prefer patients whose segmentation may be bad, on by default",
    "disagreement": "prefer those on whom folds, or turned images, disagree, on by default",
    "diversity": "prefer those unlike all who are annotated or chosen, on by default",
}
VERBS: dict[str, Callable[[list[str]], int]] = {
    "train": train,
    "evaluate": evaluate,
    "predict": predict,
    "report": report,
    "calibrate": calibrate,
    "check": check,
    "plan": plan,
    "next": next_patients,
    "demo": demo,
    "export": export,
    "compare": compare,
    "table": table,
    "where": where,
}


class _Parser(argparse.ArgumentParser):
    """Reports what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise the message, without the usage that argparse would print."""
        raise ValueError(f"{message}: see {self.prog} --help")


def _add_data_keys(parser: argparse.ArgumentParser) -> None:
    """Let a verb take the keys of a training that say what its data are."""
    for key, words in data_keys.KEYS.items():
        parser.add_argument(f"--{key}", nargs="+" if key == "classes" else None, help=words)


def _parser(verb: str, words: str) -> argparse.ArgumentParser:
    """The parser of a verb's own options."""
    return _Parser(prog=f"semicycle {verb}", description=words, allow_abbrev=False)
