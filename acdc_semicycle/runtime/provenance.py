"""Where a result comes from: the command, the versions, the machine."""

from __future__ import annotations

import math
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import torch

from acdc_semicycle import __version__
from acdc_semicycle.runtime import environment
from acdc_semicycle.runtime.console import shell_line
from acdc_semicycle.runtime.versions import versions

NAMES = ("ACDC_DIR", "VOC_DIR", "CITYSCAPES_DIR", *environment.NAMES)  # of the environment, that results follow from
PACKAGES = ("monai", "torch", "pytorch-ignite", "nibabel", "numpy")


def provenance() -> dict[str, Any]:
    """The command with the environment variables it read, the versions, and the machine's size."""
    words = []
    for name in NAMES:
        value = os.environ.get(name)
        if value:
            words.append(f"{name}={shlex.quote(value)}")
    words.append(shell_line([Path(sys.orig_argv[0]).name, *sys.orig_argv[1:]]))
    machine: dict[str, Any] = {"cores": os.cpu_count(), "threads": torch.get_num_threads()}
    if torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name()
    own_versions = {"acdc_semicycle": __version__, "python": platform.python_version()}
    return {"command": " ".join(words), "versions": own_versions | versions(*PACKAGES), "machine": machine}


def plain(value: Any) -> Any:
    """A value for JSON, which has no NaN and no infinities: None in their place."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
