"""The verbs that take trained networks and label maps: report, calibrate, export, compare, table."""

from __future__ import annotations

from pathlib import Path

from acdc_semicycle.commands.arguments import parser_of


def report(arguments: list[str]) -> int:
    """Write the page of a folder of predictions."""
    parser = parser_of("report", "One page to open in a browser, of what predict and evaluate have left in a folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--title", help="of the page; by default the data set and the network")
    given = parser.parse_args(arguments)
    from acdc_semicycle.report import page

    print(page.write(given.folder, given.title))
    return 0


def calibrate(arguments: list[str]) -> int:
    """Fit the quality without truth."""
    parser = parser_of(
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


def export(arguments: list[str]) -> int:
    """Export a network for other programs."""
    parser = parser_of(
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
    parser = parser_of(
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
