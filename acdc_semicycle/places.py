"""Where the bundle and the overlays are."""

from pathlib import Path


def folder(name: str) -> Path:
    """``"bundles/semicycle"`` or ``"configs"``: in the installed package, else in the clone beside it."""
    package = Path(__file__).parent
    return next((parent / name for parent in (package, package.parent) if (parent / name).is_dir()), package / name)
