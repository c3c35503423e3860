"""What the bundle's configuration calls: where things are, what is wrong with it, how errors are shown."""

from __future__ import annotations

import difflib
import errno
import gc
import inspect
import json
import logging
import os
import pydoc
import re
import statistics
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

from monai.bundle import ComponentLocator, ConfigComponent, ConfigParser, ConfigWorkflow
from monai.utils import set_determinism

from acdc_semicycle import distributed, signals
from acdc_semicycle.data import phantom, switches
from acdc_semicycle.errors import InputError, causes, speak_in_turn
from acdc_semicycle.places import folder, misread
from acdc_semicycle.versions import warn_below_floors

log = logging.getLogger("semicycle")

STARTED = time.monotonic()
NO_PLACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # Python does not say of which file
LOCATOR = ComponentLocator()  # one: each looks through all of MONAI for itself


def begin() -> None:
    """Before all else: errors in one line from here on, and the configuration checked."""
    gc.freeze()  # what is imported stays: looking for garbage in it costs half a second at the end alone
    sys.excepthook = show_error
    threading.excepthook = lambda failed: show_error(*failed[:3])  # TensorBoard writes in one
    signals.listen()
    switches.chosen()
    if int(os.environ.get("RANK", 0)) == 0:  # of several processes the first one speaks
        warn_below_floors()
    config = _running_config()
    check_paths(sys.argv, config)
    check(config)


def seed(number: int, deterministic: bool = False) -> None:
    """Seed all that draws at random.

    Args:
        deterministic: on a GPU too, the same numbers each time; an operation that cannot then ends the run.
    """
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it at its first use
    set_determinism(number, use_deterministic_algorithms=deterministic)


def run(config_files: Sequence[str], settings: dict[str, Any], run_id: str | None = None) -> None:
    """Run a configuration in this process, some of its keys set to values that MONAI does not read as code."""
    kind, names = ("train", {"run_id": run_id}) if run_id else ("infer", {})
    try:
        flow = ConfigWorkflow(list(config_files), workflow_type=kind, **names, **settings)
        flow.initialize()
        flow.run()
        flow.finalize()
    except Exception as error:
        for cause in causes(error):
            if isinstance(cause, InputError):
                raise cause from error
        raise


def show_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """One line for what a user can mend; MONAI wraps errors in others, so their causes are looked through."""
    speak_in_turn()
    for cause in causes(error):
        if isinstance(cause, InputError | FloatingPointError):
            print(f"error: {cause}", file=sys.stderr)
            return
        if isinstance(cause, KeyboardInterrupt):
            print("interrupted: the same command, given again, goes on from what was saved last", file=sys.stderr)
            return
        if isinstance(cause, OSError) and cause.filename is not None:
            print(f"error: {os.fsdecode(cause.filename)}: {cause.strerror}", file=sys.stderr)
            return
        if isinstance(cause, OSError) and cause.errno in NO_PLACE:
            print(f"error: {cause.strerror}: make room, and give the same command again", file=sys.stderr)
            return
    traceback.print_exception(kind, error, trace)


def data_root(dataset_dir: str | Path | None, output_dir: str | Path) -> Path:
    """The data set's folder; where none is given the phantom, written below ``output_dir`` and said so."""
    if dataset_dir is not None:
        if not str(dataset_dir).strip():
            raise InputError("dataset_dir is empty: give the ACDC folder, or leave it out for the embedded phantom")
        return Path(str(dataset_dir))
    log.warning(
        "no data set found: neither --dataset_dir nor the environment's ACDC_DIR is given. The embedded"
        " phantom and a small network stand in: a demonstration, not a result"
    )
    root = Path(output_dir) / "phantom"
    if distributed.rank() == 0:
        phantom.write(root)
    distributed.wait()
    return root


def required(name: str, what: str) -> Any:
    """Stands in a configuration for a setting that has no default."""
    raise InputError(f"{name} is not given: give {what} (--{name} ...)")


def chosen(metrics: dict[str, Any], name: str) -> dict[str, Any]:
    """The measure that decides which epoch's network is kept."""
    if name not in metrics:
        raise InputError(f"chosen_by is {name!r}: give one of {', '.join(metrics)}")
    return {name: metrics[name]}


def others(metrics: dict[str, Any], name: str) -> dict[str, Any]:
    """The measures that are only shown."""
    return {key: value for key, value in metrics.items() if key != name}


def probe(trainer: Any, evaluator: Any, val_interval: int, steps: int = 3) -> None:
    """Time some steps and one validation image, and print as JSON what a whole run is made of; nothing is kept."""
    started = time.monotonic()
    batches = iter(trainer.data_loader)
    count = min(1 + steps, len(trainer.data_loader))
    times = [_seconds(trainer._iteration, trainer, next(batches)) for _ in range(count)]
    images, evaluator.state.epoch_length = evaluator.state.epoch_length, 1
    _seconds(evaluator.run)
    validation = _seconds(evaluator.run)
    parts = {
        "step_seconds": statistics.median(times[1:] or times),  # the first one warms up
        "steps": trainer.state.max_epochs * len(trainer.data_loader),
        "validation_seconds": validation * images,
        "validations": trainer.state.max_epochs // val_interval,
        "start_seconds": started - STARTED,
    }
    print(json.dumps(parts), flush=True)


def _seconds(work: Any, *arguments: Any) -> float:
    started = time.monotonic()
    work(*arguments)
    return time.monotonic() - started


def _running_config() -> dict[str, Any]:
    """The merged configuration of the workflow that is calling.

    MONAI hands an expression everything but the configuration it stands in; its parser is up the stack.
    """
    frame = sys._getframe()
    while frame is not None:
        parser = frame.f_locals.get("self")
        if isinstance(parser, ConfigParser):
            return parser.get()
        frame = frame.f_back  # type: ignore[assignment]
    raise RuntimeError("begin() is for a bundle's configuration to call")


def check_numbers(image_size: Any, epochs: Any, val_interval: Any, batch_size: Any) -> None:
    """Refuse sizes and counts that would fail only after all data have been read.

    Raises:
        InputError: names the setting, what was given and what is expected.
    """
    counts = {"epochs": epochs, "val_interval": val_interval, "batch_size": batch_size}
    for name, value in counts.items():
        if not isinstance(value, int) or value < 1:
            raise InputError(f"{name} is {value!r}: give a whole number of at least 1")
    if val_interval > epochs:
        raise InputError(f"val_interval is {val_interval}, more than the {epochs} epochs: no network would be chosen")
    sizes = image_size if isinstance(image_size, list | tuple) else [image_size]
    if len(sizes) != 2 or any(not isinstance(n, int) or n < 8 or n % 4 for n in sizes):
        raise InputError(f"image_size is {image_size}: give rows and columns, multiples of 4 of at least 8: [200, 200]")


def check_paths(arguments: Sequence[str], config: dict[str, Any] | None = None) -> None:
    """Refuse paths that MONAI would read as code or as keys of the configuration; those given as paths it leaves alone.

    Raises:
        InputError: names the option and the path.
    """
    words = [piece for word in arguments for piece in (word.split("=", 1) if word.startswith("--") else [word])]
    for option, path in pairwise(words):
        given = (config or {}).get(option.removeprefix("--"))
        if isinstance(given, str | None) and misread(option, path):
            raise InputError(
                f"{option} is {path!r}, which MONAI reads as code or as a key of its own: rename the folder, or say"
                " semicycle train, evaluate or predict, which take any name"
            )


def check_classes(classes: Any, colours: Any) -> None:
    """Refuse class names that are no names, and colours that are not one for each.

    Raises:
        InputError: says what was given.
    """
    if not isinstance(classes, list | tuple) or len(classes) < 2 or not all(isinstance(c, str) for c in classes):
        raise InputError(f"classes is {classes!r}: give two names or more, the background first")
    if len(set(classes)) < len(classes) or "background" in [name.lower() for name in classes[1:]]:
        raise InputError(f"classes is {list(classes)}: give each its own name, and background, if there is one, first")
    if colours is not None and len(colours) != len(classes):
        raise InputError(
            f"colours has {len(colours)} entries for {len(classes)} classes: give one RGB for each, or null"
        )


def check(config: dict[str, Any]) -> None:
    """Refuse what MONAI lets pass: keys that nothing uses, and numbers given as text.

    Raises:
        InputError: names the key, and the nearest one there is.
    """
    known: dict[str, Any] = {}
    for name in ["inference.json"] if "scans" in config else ["train.json", "evaluate.json", "multi_gpu_train.json"]:
        text = (folder("bundles/semicycle") / "configs" / name).read_text(encoding="utf-8")
        known = _merge(known, json.loads(text))
    _check_text(config, "")
    used = set(re.findall(r"[@%]([\w:#]+)", json.dumps(config, default=str).replace("#", "::")))
    _check(config, known, used, "")
    if "weights" in config:
        _check_weights(config["weights"], config["objective_def"])


def _merge(base: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Both dicts' keys, sections into sections; a plain number wins over text."""
    result = dict(base)
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = _merge(result[key], value)
        elif not isinstance(result.get(key), int | float):
            result[key] = value
    return result


def _check(given: dict[str, Any], known: dict[str, Any], used: set[str], prefix: str) -> None:
    for key, value in given.items():
        name = prefix + key
        if (
            key not in known
            and not key.startswith("_")
            and not any(u == name or u.startswith(name + "::") for u in used)
        ):
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {prefix + near[0]!r}?" if near else "nothing uses it: take it out"
            raise InputError(f"the configuration has an unknown key {name!r}: {hint}")
        expected = known.get(key)
        if isinstance(expected, int | float) and isinstance(value, str) and value[:1] not in "$@%":
            raise InputError(f"{name} is the text {value!r}: give a number, as in the bundle ({expected})")
        if isinstance(value, dict) and isinstance(expected, dict):
            # what a component takes beyond what the bundle gives it, its signature says
            taken = dict.fromkeys(_arguments(value)) if "_target_" in value else {}
            if name == "weights":  # compared with the method's terms
                continue
            if value.get("_target_", expected.get("_target_")) != expected.get("_target_"):
                expected = {}  # another component, which has its own arguments
            _check(value, taken | expected, used, name + "::")


def _check_weights(weights: dict[str, Any], method: dict[str, Any]) -> None:
    """Refuse a weight of no term of the method; a term without weight the trainer refuses."""
    target = _target(method)
    if wrong := sorted(set(weights) - set(target.terms)):
        raise InputError(f"weights has {wrong[0]}: {target.__name__} has {', '.join(target.terms)}")
    for name, value in weights.items():
        if not isinstance(value, int | float) and str(value)[:1] not in "$@%":
            raise InputError(f"weights::{name} is {value!r}: give a number")


def _target(component: dict[str, Any]) -> Any:
    """The class or function that a component's ``_target_`` names."""
    return pydoc.locate(ConfigComponent(component, locator=LOCATOR).resolve_module_name())


def _arguments(component: dict[str, Any]) -> list[str]:
    """Names of the arguments of a component's ``_target_``."""
    target = _target(component)
    return list(inspect.signature(target).parameters) if callable(target) else []


def _check_text(item: Any, name: str) -> None:
    """Refuse numbers given as text, wherever they stand; the bundle's metadata may hold versions."""
    if isinstance(item, str) and _is_number(item):
        raise InputError(f"{name} is the text {item!r}: give a number (YAML reads 2e-4 as text; write 2.0e-4)")
    pairs = item.items() if isinstance(item, dict) else enumerate(item) if isinstance(item, list) else ()
    for key, value in pairs:
        if key != "_meta_":
            _check_text(value, f"{name}::{key}" if name else str(key))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
