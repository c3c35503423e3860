"""The versions of the packages below, and the oldest ones without known holes."""

import logging
from importlib.metadata import PackageNotFoundError, version

from packaging.version import InvalidVersion, Version

log = logging.getLogger("semicycle")

# monai: what files and configurations could run, up to GHSA-h89g-r5pc-wxfm; torch: CVE-2026-24747, of weights_only
FLOORS = {"monai": "1.6.1", "torch": "2.10"}


def versions(*packages: str) -> dict[str, str]:
    """Of each package, or ``unknown``: one laid beside the code rather than installed, or none at all."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


def warn_below_floors() -> None:
    """Name, in one line of the log, packages that are older than ``FLOORS``; one that cannot be told is let pass."""
    old = [f"{name} {found} (from {FLOORS[name]} on)" for name, found in versions(*FLOORS).items() if _old(name, found)]
    if old:
        log.warning("known security holes are closed in newer versions of %s: update", " and ".join(old))


def _old(package: str, found: str) -> bool:
    try:
        return Version(found).release < Version(FLOORS[package]).release  # 2.10.0a0+nv of a container is no older
    except InvalidVersion:
        return False
