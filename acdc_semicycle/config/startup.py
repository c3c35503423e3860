"""How a run of the bundle begins: errors in one line, the configuration checked, all random numbers seeded."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.utils import set_determinism

from acdc_semicycle.config import former
from acdc_semicycle.config.cpu_time import warn_of_days
from acdc_semicycle.config.failures import show_errors_in_a_line
from acdc_semicycle.config.locations import PATHS
from acdc_semicycle.config.networks import check_classes, check_networks
from acdc_semicycle.config.options import NULLS, options_of
from acdc_semicycle.config.parser import calling_parser, calling_workflow
from acdc_semicycle.config.sizing import fit_to_minutes
from acdc_semicycle.config.validate import check, check_derived, check_paths
from acdc_semicycle.config.values import check_output_dir, check_values
from acdc_semicycle.runtime import distributed, environment, signals
from acdc_semicycle.runtime.console import print_any_name
from acdc_semicycle.runtime.errors import InputError, mistakes_alone
from acdc_semicycle.runtime.versions import warn_below_floors

log = logging.getLogger("semicycle")

WORDS = {"true": True, "false": False} | dict.fromkeys(NULLS)


def begin() -> None:
    """Before all else: errors in one line from here on, and the configuration checked."""
    gc.freeze()  # what is imported stays: looking for garbage in it costs half a second at the end alone
    print_any_name()
    show_errors_in_a_line()
    signals.listen()
    environment.chosen()
    if int(os.environ.get("RANK", 0)) == 0:  # one of several processes warns
        warn_below_floors()
    parser, flow = calling_parser(), calling_workflow()
    if parser is None:
        return
    take_words(parser, sys.argv)
    former.understand(parser)
    config = parser.get()
    if flow:
        _check_task(flow.run_id, config)
    check_paths(sys.argv, config)
    check_derived(config)
    if "image_size" in config:
        check_classes(config)
    check(config)
    if "image_size" in config:
        check_values(parser.get_parsed_content)
        check_networks()
    if flow and flow.run_id == "training":
        check_output_dir(parser.get_parsed_content("output_dir"))
        fit_to_minutes(parser)
        warn_of_days(parser)


def take_words(parser: ConfigParser, arguments: Sequence[str]) -> None:
    """Read true, false and null on a command line as YAML does, none as null, and None, which MONAI leaves out.

    Args:
        arguments: the words of the command, whose values the parser has already.
    """
    values = {option.key: option.value for option in options_of(arguments)}  # the last one wins, as to MONAI
    for key, text in values.items():
        if key is None or text not in WORDS or key not in parser:
            continue
        if key in PATHS and WORDS[text] is not None:  # a folder may be called so
            continue
        if text == "None" or parser.get(key) == text:
            parser[key] = WORDS[text]


def _check_task(name: str, config: Mapping[str, Any]) -> None:
    """Refuse to run what is no task of the configuration."""
    if name in config:
        return
    tasks = [key for key in ("training", "evaluating", "run") if key in config]
    raise InputError(f"{name!r} is no task of this configuration: give {' or '.join(tasks)}")


def prepare(number: int, deterministic: bool, device: str | torch.device) -> None:
    """Seed all that draws at random, and refuse a device that this machine does not have."""
    seed(number, deterministic)
    distributed.check_device(device)


def seed(number: int, deterministic: bool = False) -> None:
    """Seed all that draws at random.

    Args:
        deterministic: on a GPU too, the same numbers each time; an operation that cannot then ends the run.
    """
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it at its first use
    set_determinism(number)
    # the same as use_deterministic_algorithms, which loads torch's compiler
    torch.set_deterministic_debug_mode("error" if deterministic else "default")


def run(config_files: Sequence[str], settings: dict[str, Any], run_id: str | None = None) -> None:
    """Run a configuration in this process, some of its keys set to values that MONAI does not read as code."""
    kind, names = ("train", {"run_id": run_id}) if run_id else ("infer", {})
    with mistakes_alone():
        flow = ConfigWorkflow(list(config_files), workflow_type=kind, **names, **settings)
        flow.initialize()
        flow.run()
        flow.finalize()
