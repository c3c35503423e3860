"""Where the bundle and the overlays are."""

import difflib
import json
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from acdc_semicycle.config import overlays
from acdc_semicycle.config.options import Option, options_of
from acdc_semicycle.runtime.errors import InputError

PATHS = ["dataset_dir", "output_dir", "images", "masks", "input", "checkpoint", "ckpt_dir", "cache_dir"]
PATHS += ["train_list", "validation_list", "test_list"]  # keys of the bundle that name what is the user's own


def misread(option: Option) -> bool:
    """Whether an option is a path that MONAI would read as code or as a key of the configuration."""
    path = option.value or ""
    odd = path.startswith(("$", "@", "%")) or any(sign in path for sign in ("#", "@::", "%::"))
    return odd and option.key in PATHS


def folder(name: str) -> Path:
    """``"bundles/semicycle"`` or ``"configs"``: in the installed package, else in the clone beside it.

    Relative where it lies below the working directory, so that the commands of a clone are the same on any machine.
    """
    package = Path(__file__).parents[1]
    found = next((parent / name for parent in (package, package.parent) if (parent / name).is_dir()), package / name)
    return found.relative_to(Path.cwd()) if found.is_relative_to(Path.cwd()) else found


def shipped(name: str) -> str:
    """The same as text, as MONAI's configurations hold paths."""
    return str(folder(name))


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
    known = ", ".join(sorted(path.stem for path in overlays_folder.glob("*.yaml")))
    raise InputError(f"{name!r} is no overlay: give a file, or one of those shipped ({known})")


def check_keys(keys: Iterable[str], files: Iterable[str] = ()) -> None:
    """Refuse keys that neither the training's configuration nor an overlay, shipped or given, has.

    Raises:
        InputError: names the first one, and the nearest one there is.
    """
    known = {*json.loads((folder("bundles/semicycle") / "configs" / "train.json").read_text(encoding="utf-8"))}
    for file in {*folder("configs").glob("*.yaml"), *map(Path, files)}:
        known |= {key.split("::")[0] for key in overlays.read(file)}
    for key in keys:
        if key.split("::")[0] not in known:
            near = difflib.get_close_matches(key, [*known, "seeds", "only", "data", "jobs"], 1)
            hint = f"did you mean --{near[0]}?" if near else "take it out"
            raise InputError(f"--{key} is no key of the bundle: {hint}")


def overlays_and_options(arguments: Sequence[str], switches: Collection[str] = ()) -> tuple[list[str], list[str]]:
    """The leading words of a command as overlay files, and the options behind them.

    Args:
        switches: options that have no value.

    Raises:
        InputError: names a word that is neither, or an option without its value.
    """
    first = next((place for place, argument in enumerate(arguments) if argument.startswith("-")), len(arguments))
    for option in options_of(arguments[first:], switches):
        if not option.key:
            raise InputError(f"{option.word!r} is not understood: overlays come first, then --KEY VALUE pairs")
        if option.key not in switches and (not option.value or option.value.startswith("--")):
            raise InputError(f"--{option.key} has no value: give --{option.key} VALUE")
    return [overlay(name) for name in arguments[:first]], list(arguments[first:])
