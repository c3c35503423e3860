#!/usr/bin/env python
"""Peak memory of whole processes: a training step of the paper's size, and prediction of shallow and deep volumes.

    python benchmarks/memory.py [--depths 10 200] [--image_size 200] [--batch_size 5]

Each row is a process of its own. Training is that of the bundle on a phantom, two steps at full size, with and without
activation checkpointing. Prediction is ``predict.py``'s, ours beside stock MONAI's, with a network of the paper's size.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import multiprocessing
import resource
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import predict
from measure import machine, table
from monai.bundle import ConfigWorkflow


def nothing() -> None:
    """The imports alone."""


def train(folder: Path, **settings: Any) -> None:
    """Two steps of the bundle's training, and a validation."""
    settings |= {"output_dir": str(folder / "run"), "cache_dir": str(folder / "cache"), "epochs": 1, "validation": 0.25}
    settings |= {"demo": False, "dataset_dir": str(folder / "phantom"), "dataset": "phantom", "steps_per_epoch": 2}
    config = str(predict.ROOT / "bundles" / "semicycle" / "configs" / "train.json")
    flow = ConfigWorkflow(config, workflow_type="train", logging_file=False, run_id="training", **settings)
    flow.initialize()
    flow.run()


def stock(scan: Path, out: Path, model: Path, size: int) -> None:
    predict.Stock(model, size, 64, "cpu")([scan], out)


def ours(scan: Path, out: Path, model: Path, **settings: Any) -> None:
    predict.ours([scan], out, model, "cpu", **settings)


def peak(work: Callable[..., None], *given: Any, **more: Any) -> float:
    """GiB that a process of its own has at most while it does the work."""
    reader, writer = multiprocessing.get_context("spawn").Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_watched, args=(writer, work, given, more))
    process.start()
    writer.close()
    try:
        return reader.recv() / 2**20
    except EOFError:
        raise SystemExit(f"{work.__name__} {more} failed") from None
    finally:
        process.join()


def _watched(writer: Any, work: Callable[..., None], given: tuple, more: dict) -> None:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()):
        work(*given, **more)
    writer.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depths", type=int, nargs="+", default=[10, 200], help="slices of the volumes predicted")
    parser.add_argument("--image_size", type=int, default=200, help="rows and columns that the networks see")
    parser.add_argument("--batch_size", type=int, default=5, help="of a training step")
    given = parser.parse_args()
    size = given.image_size
    print(machine("cpu"))
    rows = [["the imports alone", f"{peak(nothing):.2f}"]]
    with tempfile.TemporaryDirectory(prefix="semicycle") as name:
        folder = Path(name)
        (scan,) = predict.scans(folder, 1, (216, 256, 10))
        for words, switch in (("", False), (", --checkpointing True", True)):
            found = peak(
                train, folder, image_size=[size, size], batch_size=given.batch_size, labelled=0.4, checkpointing=switch
            )
            rows.append([f"training, {size} x {size}, {given.batch_size} + {given.batch_size}{words}", f"{found:.2f}"])
        model = predict.trained(folder, size, 64, 0, "cpu")
        voxels = np.asarray(nibabel.load(scan).dataobj)
        for depth in given.depths:
            deep = folder / f"deep{depth}.nii.gz"
            nibabel.save(
                nibabel.Nifti1Image(np.resize(voxels.T, (depth, 256, 216)).T, np.diag([1.4, 1.4, 10, 1])), deep
            )
            forms = {
                "stock": peak(stock, deep, folder / f"stock{depth}", model, size),
                "ours": peak(ours, deep, folder / f"ours{depth}", model),
                "ours, --probabilities": peak(ours, deep, folder / f"probabilities{depth}", model, probabilities=True),
            }
            rows += [[f"prediction, 216 x 256 x {depth}, {form}", f"{gib:.2f}"] for form, gib in forms.items()]
    print(table(["a process", "GiB at most"], rows))


if __name__ == "__main__":
    main()
