"""The versions of the packages below, and the oldest ones without known holes."""

import logging
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from packaging.version import InvalidVersion, Version

log = logging.getLogger("semicycle")

# monai: what files and configurations could run, up to GHSA-h89g-r5pc-wxfm; torch: CVE-2026-24747, of weights_only
FLOORS = {"monai": "1.6.1", "torch": "2.10"}


def versions(*packages: str) -> dict[str, str]:
    """The version of each package; ``unknown`` of one that is not installed, or only lies beside the code."""
    return {package: _version(package) for package in packages}


@cache
def _version(package: str) -> str:
    """The version of a package; ``unknown`` of one that is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def warn_below_floors() -> None:
    """Name the packages older than ``FLOORS`` in one line of the log; an unknown version passes."""
    old = []
    for name, installed in versions(*FLOORS).items():
        if _old(name, installed):
            old.append(f"{name} {installed} (from {FLOORS[name]} on)")
    if old:
        log.warning("known security holes are closed in newer versions of %s: update", " and ".join(old))


def _old(package: str, installed: str) -> bool:
    """Whether a package's version is below its floor."""
    try:
        return Version(installed).release < Version(FLOORS[package]).release  # 2.10.0a0+nv of a container is no older
    except InvalidVersion:
        return False
