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

import sys
from collections.abc import Callable

from acdc_semicycle import __version__
from acdc_semicycle.commands import data, results, running
from acdc_semicycle.config.locations import folder
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


VERBS: dict[str, Callable[[list[str]], int]] = {
    "train": running.train,
    "evaluate": running.evaluate,
    "predict": running.predict,
    "report": results.report,
    "calibrate": results.calibrate,
    "check": data.check,
    "plan": data.plan,
    "next": data.next_patients,
    "demo": data.demo,
    "export": results.export,
    "compare": results.compare,
    "table": results.table,
    "where": where,
}
