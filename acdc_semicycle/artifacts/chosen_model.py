"""Which network a command without ``--model`` takes.

That of its output folder, else the only run that fits; for scans that may be of a heart the one that the package holds,
where no run fits.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acdc_semicycle.artifacts.card import unfinished
from acdc_semicycle.artifacts.folds import folder_of_folds
from acdc_semicycle.artifacts.model import card
from acdc_semicycle.imageio.pictures import is_picture
from acdc_semicycle.imageio.volumes import SCANS
from acdc_semicycle.runtime.errors import InputError, many, some
from acdc_semicycle.runtime.search import folders_below, visible

log = logging.getLogger("semicycle")

TRIAL = 100  # steps: a training of fewer shows that data and settings fit together, and gives no network to use
# In the name of a class of a heart
HEART = re.compile(r"(?<![a-z])(lv|rv|la|ra|myo)(?![a-z])|ventric|atri|cardi|heart", re.IGNORECASE)
ADVICE = "it learnt from phantoms and from left ventricles alone: look at what it draws, or train with masks of yours"
NOT_OF_PICTURES = "the package's own is one of scans, give a run trained on pictures, or scans (NIfTI)"


@dataclass(frozen=True)
class Input:
    """What the names of a command's scans or pictures tell.

    Attributes:
        pictures: whether they are pictures; None where they are both, or neither.
        heart: whether an Info.cfg lies beside one, as in ACDC.
        phantom: whether they are those that ``semicycle train`` draws without data.
    """

    pictures: bool | None = None
    heart: bool = False
    phantom: bool = False


@dataclass(frozen=True)
class Run:
    """A training run's folder, or a folder of folds.

    Attributes:
        path: its model.pt, or the folder of folds.
        card: of its network; empty where that cannot be read.
    """

    path: Path
    card: dict[str, Any]

    @property
    def folder(self) -> Path:
        """What ``--model`` is given."""
        return self.path.parent.parent if self.path.suffix == ".pt" else self.path

    @property
    def obstacle(self) -> str | None:
        """Why it is never taken unasked, if so."""
        if not self.card:
            return "damaged model.json"
        steps = self.card.get("steps", TRIAL)  # of versions before 0.2 it is not known
        return f"a trial of {many(steps, 'step')}" if steps < TRIAL else None

    @property
    def is_of_a_heart(self) -> bool:
        """Whether a class of it is part of a heart."""
        return any(map(HEART.search, self.card.get("classes", ())))

    @property
    def is_of_the_phantom(self) -> bool:
        """Whether it is the demonstration."""
        return self.card.get("dataset") == "phantom"

    def fits(self, images: Input) -> bool:
        """Whether the network may be for these images."""
        if images.pictures is not None and images.pictures != self.card["pictures"]:
            return False
        return self.is_of_a_heart or not images.heart

    def __str__(self) -> str:
        """Folder, data set, classes, length and score, in a line."""
        facts = [self.obstacle] if self.obstacle else []
        if self.card:
            facts.append(f"{self.card.get('dataset', 'unknown data')}: {some(self.card['classes'][1:])}")
        if self.card.get("steps") and not self.obstacle:
            facts.append(f"{self.card['steps']:,} steps")
        facts += unfinished(self.card)
        for name, score in (self.card.get("validation") or {}).items():
            if isinstance(score, float):
                facts.append(f"validation {name} {score:.3f}")
        return f"{self.folder} ({'; '.join(facts)})"


def model_for(bundle_root: str | Path, source: Any = None, output_dir: Any = None, runs: str | Path = "runs") -> Path:
    """The network of a command that was given none.

    Args:
        bundle_root: whose own ``models/model.pt`` is taken where no run fits, and none is of another organ.
        source: the scans or pictures: a path or several.
        output_dir: where label maps go; those that lie there already have their network.
        runs: the folder whose runs are looked at.

    Raises:
        InputError: no run fits, or several do, and names them all; there is no run for pictures; or the network of
            ``output_dir`` is gone.
    """
    former = _former_model(output_dir)
    if former is not None:
        return former
    own = Path(bundle_root) / "models" / "model.pt"
    all_runs = list(_runs_below(Path(runs)))
    images = _input_of(source, output_dir)
    if not all_runs and images.pictures and own.is_file():
        raise InputError(f"no --model is given, and {runs} holds no network of pictures: {NOT_OF_PICTURES}")
    candidates = _candidates(all_runs, images, source is None or not own.is_file())
    if len(candidates) == 1:
        if len(all_runs) > 1:
            log.info("the one that fits of %d networks: %s", len(all_runs), candidates[0].folder)
        return candidates[0].path
    if not candidates and _packaged_may_fit(own, source, images, all_runs):
        return _packaged(own)
    count = f"{len(candidates)} of {many(len(all_runs), 'network')} below {runs} fit"
    example = (candidates or all_runs)[0].folder
    raise InputError(f"no --model is given, and {count}: {some(all_runs, 10)}: give one, such as --model {example}")


newest_model = model_for  # as configurations of version 0.1 call it; understood until 0.3


def _packaged(path: Path) -> Path:
    """The network that the package holds, which lines tell."""
    if path.is_file():
        log.info("no network of yours fits: the pretrained one of this package is used, %s", path)
        log.info("%s", ADVICE)
    return path


def _candidates(runs: Sequence[Run], images: Input, demonstration: bool) -> list[Run]:
    """The runs that fit.

    Args:
        demonstration: whether one of the phantom is taken for other images, too, if there is no other run.
    """
    fitting = [run for run in runs if run.obstacle is None and run.fits(images)]
    preferred = [run for run in fitting if run.is_of_the_phantom == images.phantom]
    if preferred or not (demonstration or images.phantom):
        return preferred
    return fitting


def _packaged_may_fit(path: Path, source: Any, images: Input, runs: Sequence[Run]) -> bool:
    """Whether the package's network, at ``path``, may be for these images, where no run is.

    Without runs there is no other. With runs it takes scans that may be of a heart: by what lies beside them, or as no
    run is of something else.
    """
    if not runs:
        return True
    if source is None or not path.is_file():
        return False
    return images.heart or (not images.pictures and all(run.is_of_a_heart for run in runs))


def _former_model(output_dir: Any) -> Path | None:
    """The network that made the label maps in a folder; None where there are none.

    Raises:
        InputError: it is no longer there.
    """
    if output_dir is None:
        return None
    manifest = Path(str(output_dir)) / "predictions.json"
    try:
        path = Path(json.loads(manifest.read_text(encoding="utf-8"))["model"]["path"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if not path.exists():
        raise InputError(
            f"{output_dir} holds label maps of {path}, which is not there: give --model, or another output folder"
        )
    log.info("%s is the network of %s so far: --model gives another", path, output_dir)
    return path


def _runs_below(folder: Path) -> Iterator[Run]:
    """All runs with a network, the newest first; folds are one run."""
    paths = set()
    for below in folders_below(folder)[0]:
        network = below / "model.pt"
        if below.name == "models" and network.is_file():
            paths.add(folder_of_folds(network) or network)
    for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            yield Run(path, card(path))
        except InputError:
            yield Run(path, {})


def _input_of(source: Any, output_dir: Any) -> Input:
    """What the names of a command's scans or pictures tell; what lies in the output folder is not looked at."""
    sources = source if isinstance(source, list | tuple) else [source]
    paths = [Path(str(path)) for path in sources if path is not None]
    output = None if output_dir is None else Path(str(output_dir)).resolve()
    files: list[Path] = []
    for path in paths:
        files += _files_of(path, output)
    has_pictures = any(map(is_picture, files))
    has_scans = any(file.name.lower().endswith((*SCANS, ".dcm")) for file in files)
    return Input(
        pictures=None if has_pictures == has_scans else has_pictures,
        heart=any((file.parent / "Info.cfg").is_file() for file in files),
        phantom=any(map(_is_in_the_phantom, paths)),
    )


def _files_of(path: Path, output: Path | None) -> list[Path]:
    """A file, or all files in a folder and below it but for those in the output folder."""
    if not path.is_dir():
        return [path]
    return list(visible(folders_below(path, lambda folder: folder != path and folder.resolve() == output)[0]))


def _is_in_the_phantom(path: Path) -> bool:
    """Whether a path is the phantom's folder or lies in it."""
    folders = (path.absolute(), *path.absolute().parents)
    return any((folder / "phantom.json").is_file() for folder in folders)
