"""The pictures of a report: slices of a case, outlines over them, what was painted back."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from contourpy import contour_generator
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from acdc_semicycle.imageio import volumes
from acdc_semicycle.imageio.orientation import displayed
from acdc_semicycle.runtime.errors import InputError

SIDE, SMALL = 176, 112  # pixels of a picture's longer side, at most; of the painted one's
# what a panel, a table of ours or a mask that is damaged raises
DAMAGE = (*volumes.DAMAGE, KeyError, IndexError, zipfile.BadZipFile, InputError)


@dataclass(frozen=True)
class Case:
    """A row of the summary: what the prediction says of it, and its scores where there is a truth.

    Attributes:
        predicted: its entry in predictions.json, or empty.
        scored: its entry in evaluation.json, or empty.
        other: the second tool's entry there, or empty.
    """

    name: str
    predicted: dict[str, Any] = field(default_factory=dict)
    scored: dict[str, Any] = field(default_factory=dict)
    other: dict[str, Any] = field(default_factory=dict)

    def about(self, key: str) -> str:
        return str(self.scored.get(key) or self.predicted.get(key) or self.other.get(key) or "")

    def score(self, measure: str, name: str = "mean", tool: str = "scored") -> float | int | None:
        return (getattr(self, tool).get(measure) or {}).get(name)

    @property
    def quality(self) -> float | int | None:
        return self.predicted.get("quality")

    @property
    def seconds(self) -> float | int | None:
        spent = [value for value in (self.predicted.get("seconds") or {}).values() if value is not None]
        return sum(spent) if spent else None

    @property
    def worst_first(self) -> tuple[Any, ...]:
        """By the true Dice, else by what is expected of it, else by name; what has no number comes first."""
        known = self.score("dice"), self.quality
        return (*((value is not None, value or 0.0) for value in known), self.name, self.about("phase"))

    def volumes_ml(self, structure: str, whose: str = "prediction") -> list[float | int]:
        """One number, or the ED and the ES frame's of a cine; empty where unknown."""
        found = [((self.scored.get("volumes_ml") or {}).get(whose) or {}).get(structure)]
        frames = (self.predicted.get("volumes_ml") or {}).get(structure) or []
        if found == [None] and whose == "prediction":
            phases = self.predicted.get("phases") or {}
            places = [phases[phase] for phase in ("ED", "ES") if phases.get(phase) is not None] or [0]
            found = [frames[place] for place in places if place < len(frames)]
        return [value for value in found if value is not None]


class Slice(NamedTuple):
    """What is shown of one slice: arrays [H, W] as a radiologist sees them."""

    place: int
    image: NDArray
    prediction: NDArray  # class indices
    truth: NDArray | None = None  # class indices
    painted: NDArray | None = None
    difference: NDArray | None = None  # 0 = agree


def slices_of(folder: Path, case: Case) -> list[Slice]:
    """Up to three slices of a case: those kept when it was predicted, else from the files themselves."""
    panel = case.predicted.get("panel")
    if panel and (folder / panel).is_file():
        return _from_panel(folder, case, folder / panel)
    path = case.scored.get("prediction") or case.predicted.get("mask")
    if not path:
        raise InputError("no mask of it is named")
    prediction = volumes.read(_found(folder, path), frames=True, mask=True)
    mask = prediction.layout.apply(prediction.voxels)[..., 0]
    held = np.flatnonzero((mask > 0).any((0, 1)))
    held = held if held.size else np.arange(mask.shape[2])
    places = np.unique(held[np.round(np.quantile(np.arange(held.size), (0.15, 0.5, 0.85))).astype(int)])
    turned = prediction.spacing_fault is None
    truth = _truth(folder, case, 0, mask.shape[:2])
    image = _image(folder, case, mask)
    return [
        Slice(
            int(z),
            displayed(image[..., z], turned),
            displayed(mask[..., z], turned),
            None if truth is None or z >= truth.shape[2] else displayed(truth[..., z], turned),
        )
        for z in places
    ]


def _from_panel(folder: Path, case: Case, path: Path) -> list[Slice]:
    with np.load(path, allow_pickle=False) as panel:
        held = {name: panel[name] for name in panel.files}
    turned, (height, width) = bool(held["turned"]), held["prediction_0"].shape
    truth = _truth(folder, case, int(held["frame"]), (width, height))  # displayed, a slice is transposed
    return [
        Slice(
            int(z),
            held[f"image_{n}"],
            held[f"prediction_{n}"],
            None if truth is None or z >= truth.shape[2] else displayed(truth[..., z], turned),
            held.get(f"painted_{n}"),
            held.get(f"difference_{n}"),
        )
        for n, z in enumerate(held["places"])
    ]


def _truth(folder: Path, case: Case, frame: int, shape: tuple[int, ...]) -> NDArray | None:
    """The true masks [H, W, slices] of a frame; None where there are none of that frame and shape to be read."""
    if not case.scored.get("truth"):
        return None
    try:
        volume = volumes.read(_found(folder, case.scored["truth"]), frames=True, mask=True)
    except DAMAGE:
        return None  # its scores are there, and say more than its outline
    masks = volume.layout.apply(volume.voxels)
    if masks.shape[3] == 1 and (case.predicted.get("frames") or 1) > 1:  # of a cine: perhaps of another frame
        frame -= (case.predicted.get("phases") or {}).get(case.about("phase"), -1)
    return masks[..., frame] if 0 <= frame < masks.shape[3] and masks.shape[:2] == shape else None


def _image(folder: Path, case: Case, mask: NDArray) -> NDArray:
    """The scan [H, W, slices] in greys of 0 to 255; black where it is not to be had."""
    path, image = case.scored.get("image") or case.predicted.get("scan"), np.zeros(0)
    with suppress(*DAMAGE):  # the outlines still tell
        if path:
            volume = volumes.read(_found(folder, path), frames=True)
            image = volume.layout.apply(volume.voxels)[..., 0].astype(np.float32)
    if image.shape != mask.shape:
        return np.zeros(mask.shape, np.uint8)
    low, high = np.percentile(image, (1, 99.5))
    return (np.clip((image - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)


def _found(folder: Path, path: str | Path) -> Path:
    """A path as seen from the folder, or, where that leads nowhere, as it was given."""
    return folder / path if (folder / path).exists() else Path(path)


def drawn(slices: Sequence[Slice], labels: Sequence[int]) -> list[dict[str, Any]]:
    """Slices as pictures of the part where there is something, and outlines in half pixels over them."""
    window = _window(slices)
    pictures = []
    for one in slices:
        height, width = one.image[window].shape
        maps = {"painted": (one.painted, None), "difference": (one.difference, "inferno")}
        pictures.append(
            {
                "place": one.place,
                "size": (2 * width, 2 * height),
                "image": uri(_png(one.image[window], SIDE)),
                "outlines": [(label, _outline(one.prediction[window] == label)) for label in labels],
                "truth": None if one.truth is None else [_outline(one.truth[window] == label) for label in labels],
            }
            | {name: None if a is None else uri(_png(a[window], SMALL, colours)) for name, (a, colours) in maps.items()}
        )
    return pictures


def _window(slices: Sequence[Slice]) -> tuple[slice, slice]:
    """A square around all the masks, and half as much again; the same for every slice."""
    masks = [mask for one in slices for mask in (one.prediction, one.truth) if mask is not None]
    rows, columns = np.nonzero(np.any([mask > 0 for mask in masks], axis=0))
    height, width = masks[0].shape
    if not rows.size:
        return slice(0, height), slice(0, width)
    side = max(int(1.5 * max(np.ptp(rows), np.ptp(columns))), 64)
    top, left = (int(places.min() + places.max() - side) // 2 for places in (rows, columns))
    top, left = max(0, min(top, height - side)), max(0, min(left, width - side))
    return slice(top, top + side), slice(left, left + side)


def _png(grey: NDArray, side: int, colours: str | None = None) -> bytes:
    """A picture of 64 greys, or of 16 colours: all that is seen at its size, in half the room."""
    picture = Image.fromarray(np.ascontiguousarray(grey, np.uint8))
    picture.thumbnail((side, side))
    step = 16 if colours else 4
    picture = picture.point(lambda value: value // step * step)
    if colours:
        picture.putpalette((colormaps[colours](np.arange(256))[:, :3] * 255).astype(np.uint8).tobytes())
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _outline(mask: NDArray) -> str:
    """The borders of a mask [H, W] as an SVG path, in half pixels."""
    path = []
    for line in contour_generator(z=np.pad(mask, 1).astype(float)).lines(0.5):
        points = np.round(2 * np.asarray(line)).astype(int) - 1  # less the padding; a pixel's middle is its half
        turns = (np.diff(points, 2, axis=0) != 0).any(1)
        corners = points[[True, *turns, True]]  # the rest lies on straight lines
        steps = " ".join(f"{x} {y}" for x, y in np.diff(corners, axis=0))
        path.append(f"M{points[0, 0]} {points[0, 1]}l{steps}z")
    return "".join(path)
