"""Where the bundle and the overlays are."""

import re
from collections.abc import Collection, Iterable, Sequence
from itertools import takewhile
from pathlib import Path

from acdc_semicycle.config import overlays
from acdc_semicycle.config.former_keys import KEYS
from acdc_semicycle.config.options import Option, nearest, options_of
from acdc_semicycle.runtime.errors import InputError

PATHS = ["dataset_dir", "output_dir", "images", "masks", "input", "checkpoint", "ckpt_dir", "cache_dir"]
PATHS += [
    "train_list",
    "validation_list",
    "test_list",
    "mended",
    "drafts",
]  # keys of the bundle that name what is the user's own


def misread(option: Option) -> bool:
    """Whether an option is a path that MONAI would read as code or as a key of the configuration."""
    if option.key not in PATHS or option.value is None:
        return False
    return option.value.startswith(("$", "@", "%")) or bool(re.search("#|[@%]::", option.value))


def folder(name: str) -> Path:
    """``"bundles/semicycle"`` or ``"configs"``: in the installed package, else in the clone beside it.

    Relative where it lies below the working directory, so that the commands of a clone are the same on any machine.
    """
    package = Path(__file__).parents[1]
    path = package / name
    if not path.is_dir() and (package.parent / name).is_dir():
        path = package.parent / name
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def shipped(name: str) -> str:
    """The same as text, as MONAI's configurations hold paths."""
    return str(folder(name))


def is_shipped(file: str | Path) -> bool:
    """Whether a configuration's file is one of the bundle or an overlay of this package."""
    folders = [folder("bundles/semicycle") / "configs", folder("configs")]
    return Path(file).resolve().parent in [shipped_folder.resolve() for shipped_folder in folders]


def overlay(name: str) -> str:
    """An overlay's file, by its path or by the name of one that is shipped.

    Raises:
        InputError: there is none, and names those that are shipped; or it cannot be read.
    """
    overlays_folder = folder("configs")
    for path in (Path(name), overlays_folder / f"{name}.yaml"):
        if path.is_file():
            overlays.read(path)  # MONAI would not name it where it cannot be read
            return str(path)
    names = ", ".join(sorted(path.stem for path in overlays_folder.glob("*.yaml")))
    raise InputError(f"{name!r} is no overlay: give a file, or one of those shipped ({names})")


def check_keys(keys: Iterable[str], files: Iterable[str] = ()) -> None:
    """Refuse keys that neither the training's configuration nor an overlay, shipped or given, has.

    Raises:
        InputError: names the first one, and the nearest one there is.
    """
    known = {*overlays.read(folder("bundles/semicycle") / "configs" / "train.json"), *KEYS}
    for file in {*folder("configs").glob("*.yaml"), *map(Path, files)}:
        known |= {key.split("::")[0] for key in overlays.read(file)}
    for key in keys:
        if key.split("::")[0] not in known:
            near = nearest(key, [*known, "seeds", "only", "data", "jobs"])
            hint = f"did you mean --{near}?" if near else "remove it"
            raise InputError(f"--{key} is no key of the bundle: {hint}")


def overlays_and_options(arguments: Sequence[str], switches: Collection[str] = ()) -> tuple[list[str], list[str]]:
    """The leading words of a command as overlay files, and the options after them.

    Args:
        switches: options that have no value.

    Raises:
        InputError: names a word that is neither, or an option without its value.
    """
    names = list(takewhile(lambda word: not word.startswith("-"), arguments))
    options = list(arguments[len(names) :])
    for option in options_of(options, switches):
        if not option.key:
            raise InputError(f"{option.word!r} is not understood: overlays come first, then --KEY VALUE pairs")
        if option.key not in switches and (not option.value or option.value.startswith("--")):
            raise InputError(f"--{option.key} has no value: give --{option.key} VALUE")
    return [overlay(name) for name in names], options
