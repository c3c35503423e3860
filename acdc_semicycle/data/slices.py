"""Every slice of some volumes, prepared once, and changed at random each time it is drawn."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, apply_transform
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, default_collate
from tqdm import tqdm

from acdc_semicycle.data import cache, digests
from acdc_semicycle.data.augment import Augment
from acdc_semicycle.data.slice_records import unpacked
from acdc_semicycle.data.windows import Finder, Windows, label_boxes, structure_boxes, warn_of_large
from acdc_semicycle.datasets.records import Record
from acdc_semicycle.imageio.pictures import IGNORED
from acdc_semicycle.runtime import distributed
from acdc_semicycle.runtime.errors import InputError, many

log = logging.getLogger("semicycle")


def as_dicts(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Records as MONAI's transforms take them; no ``label`` where there is no mask."""
    items = []
    for record in records:
        item: dict[str, Any] = {
            "image": str(record.image), "case": record.case, "patient": record.patient, "phase": record.phase or "",
        }  # fmt: skip
        if record.label:
            item["label"] = str(record.label)
        if record.slice is not None:
            item["slice"] = record.slice
        if record.frame is not None:
            item["frame"] = record.frame
        if record.mended is not None:
            item["mended"] = record.mended
        items.append(item)
    return items


def read(records: Sequence[Record], transform: Callable) -> list[Any]:
    """Every volume, image and mask, through ``transform``."""
    return list(reading(records, transform, ("image", "label")))


def reading(records: Sequence[Record], transform: Callable, keys: Sequence[str]) -> Iterator[Any]:
    """Every volume through ``transform``, one by one in this thread; what is not in ``keys`` is not even read.

    But for the mask of a partly annotated volume, which says where it is not annotated.

    MONAI's ``CacheDataset`` reads in a thread of its own, which an error on the way out leaves running: the
    interpreter then sometimes aborts.
    """
    if not records:
        return
    log.info("reading %s", many(len(records), "image"))
    for record in tqdm(records, "reading", disable=bool(distributed.rank()) or None):
        [item] = as_dicts([record])
        if "label" not in keys and not record.partly_annotated:
            item.pop("label", None)
        yield transform(item)


class Slices(Dataset):
    """Every slice of some volumes, prepared once and kept compact (:mod:`acdc_semicycle.data.cache`).

    An index past the end means the same slices again, changed at random in another way. A slice without an annotated
    pixel is none of those with masks; of a partly annotated volume it is one of those without.

    Args:
        records: the volumes.
        transform: from a volume's dict to tensors [C, H, W, slices], the same each time.
        random_transform: MONAI's, one, several or by their names, on one slice's tensors [C, H, W], each time it is
            drawn; its random state depends on the seed, the epoch and the index alone, so workers and resumes change
            nothing.
        keys: what is kept of each slice: ("image", "label"), or ("image",) where masks stay unseen.
        augment: random changes of whole batches, after ``random_transform`` and much faster.
        cache_dir: folder in which the prepared slices wait for the next run; None keeps them in memory.
    """

    def __init__(
        self,
        records: Sequence[Record],
        transform: Callable,
        random_transform: Mapping[str, Callable] | Callable | Sequence[Callable] = (),
        keys: Sequence[str] = ("image", "label"),
        seed: int = 0,
        augment: Augment | Windows | None = None,
        cache_dir: str | Path | None = None,
    ) -> None:
        self.seed, self.epoch = seed, 0
        self.keys, self.augment = tuple(keys), augment or Augment()
        if isinstance(random_transform, Mapping):
            random_transform = list(random_transform.values())
        self.random = Compose(random_transform)
        self.files = [(record.image, record.frame, record.slice or 0) for record in records]
        self.stored = cache.kept(
            Path(str(cache_dir)) if cache_dir is not None and records else None,
            lambda: digests.digest_of(records, transform, keys),
            lambda: self._slices_of(records, reading(records, transform, keys)),
        )
        if records and "label" in self.keys and not len(self.stored):
            raise InputError(
                f"the masks of {many(len(records), 'labelled image')}, e.g. {records[0].label}, hold {IGNORED} alone,"
                " which means not annotated: give masks with classes"
            )
        self.held: dict[str, Tensor] = {}
        self.finder: Finder | None = None  # of structures in slices without masks
        self.pseudo_labels: NDArray | None = None  # [N, 1, H, W] of slices without masks, once there are any

    def __len__(self) -> int:
        """Number of slices."""
        return len(self.stored)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the slices."""
        height, width = self.stored["image"].shape[-2:]
        return height, width

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """Each slice once; Python's own iteration would never end, as any index is one of a slice."""
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One slice as training sees it: image [C, H, W] and, unless it stays unseen, label [1, H, W]."""
        item = self.finished(self.__getitems__([index]), "cpu")
        return {key: value[0] for key, value in item.items() if key != "index"}

    def plain(self, index: int) -> dict[str, Tensor]:
        """One slice without random changes."""
        return {key: value[0] for key, value in unpacked(self._rows([index])).items()}

    def hold(self, device: torch.device) -> None:
        """Keep the slices on a CUDA device, if they take no more than a quarter of what is free there."""
        if device.type != "cuda" or self.random_by_slice:
            return
        free, _ = torch.cuda.mem_get_info(device)
        if self.stored.nbytes > free / 4:
            return
        self.held = {key: value.to(device) for key, value in self._tensors(self.stored).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """The records of a batch, as workers give them; ``finished`` or ``views`` make it a batch."""
        index = torch.as_tensor(indices)
        if self.held:
            return {"index": index}
        if not self.random_by_slice:
            return self._rows(indices) | {"index": index}
        plain = unpacked(self._rows(indices))
        items = [{key: value[n] for key, value in plain.items()} for n in range(len(index))]
        return self._changed(items, indices) | {"index": index}

    def finished(self, batch: dict[str, Tensor], device: str | torch.device) -> dict[str, Tensor]:
        """The batch on the device: image [B, C, H, W] float and label [B, 1, H, W] uint8, changed at random."""
        index, rows = batch["index"], self._moved(batch, device)
        if isinstance(self.augment, Windows):
            rows["box"] = self._boxes(rows, index, self.augment.size)
        return self.augment(rows, index.tolist(), self.seed, self.epoch) | {"index": index}

    def views(
        self, batch: dict[str, Tensor], device: str | torch.device, augments: Mapping[str, Augment | Windows]
    ) -> dict[str, Tensor]:
        """The batch's images [B, C, H, W] by the name of each view, on the device, without the labels.

        Where there are pseudo-labels, they are ``label`` [B, 1, H, W], the same of all views.
        """
        index, rows = batch["index"], self._moved(batch, device)
        rows = {key: value for key, value in rows.items() if key != "label"}
        if self.pseudo_labels is not None:
            labels = self.pseudo_labels[index.numpy() % len(self)]
            rows["label"] = torch.from_numpy(labels).to(device, non_blocking=True)
        windows = [augment for augment in augments.values() if isinstance(augment, Windows)]
        if windows:
            rows["box"] = self._boxes(rows, index, windows[0].size)
        views = {"index": index}
        for number, (name, augment) in enumerate(augments.items()):
            view = augment(rows, index.tolist(), self.seed, self.epoch, view=number)
            views[name] = view["image"]
            if "label" in view:
                views["label"] = view["label"]
        return views

    def _moved(self, batch: dict[str, Tensor], device: str | torch.device) -> dict[str, Tensor]:
        """The batch's records on the device; taken from those held there, where they are held."""
        if self.held:
            rows = (batch["index"] % len(self)).to(self.held["image"].device, non_blocking=True)
            return {key: value.index_select(0, rows).to(device) for key, value in self.held.items()}
        return {key: value.to(device, non_blocking=True) for key, value in batch.items() if key != "index"}

    def _boxes(self, rows: dict[str, Tensor], index: Tensor, size: Sequence[int]) -> Tensor:
        """The box [B, 4] of what is segmented in some slices: by their masks, else as the finder sees it."""
        if "label" in self.keys or self.pseudo_labels is not None:
            records = self.stored["record"][index.numpy() % len(self)]
            return torch.as_tensor(self.boxes[records])
        image = unpacked(rows)["image"]
        if self.finder is not None:
            return self.finder(image, size)
        height, width = image.shape[-2:]
        return torch.tensor([[0, height - 1, 0, width - 1]]).expand(len(index), 4)

    @cached_property
    def boxes(self) -> NDArray:
        """The box of what the masks of each volume segment [volumes, 4]: first and last row, first and last column."""
        return label_boxes(self._structure_boxes, self.size)

    @cached_property
    def _structure_boxes(self) -> list[list[int] | None]:
        """The same; None where the masks segment nothing."""
        labels = self.stored["label"] if self.pseudo_labels is None else self.pseudo_labels
        return structure_boxes(labels, self.stored["record"], IGNORED)

    def warn_of_large(self) -> None:
        """Warn of structures in the masks that are larger than the windows, if windows are drawn."""
        if isinstance(self.augment, Windows):
            warn_of_large(self._structure_boxes, self.augment.size)

    def where(self, index: Tensor) -> list[str]:
        """The files and slices (from 1) of some indices."""
        names = []
        for row in self.stored[index.numpy() % len(self)]:
            file, frame, first = self.files[row["record"]]
            of_a_cine = f" frame {frame + 1}" if frame is not None else ""
            names.append(f"{file}{of_a_cine} slice {first + row['slice'] + 1}")
        return names

    @property
    def random_by_slice(self) -> bool:
        """Whether there are random transforms of single slices: work for other processes."""
        return bool(self.random.transforms)

    def _slices_of(self, records: Sequence[Record], volumes: Iterable[dict[str, Any]]) -> Iterator[dict[str, Tensor]]:
        """Every slice of the volumes, with its place.

        Raises:
            InputError: the transforms gave intensities that are not finite.
        """
        for number, (record, volume) in enumerate(zip(records, volumes, strict=True)):
            tensors = {key: _without_metadata(volume[key]) for key in self.keys}
            if not torch.isfinite(tensors["image"]).all():
                raise InputError(f"{volume['case']}: a transform gave NaN or infinite intensities: remove it")
            for index in self._slices_to_keep(record, volume):
                item = {key: tensor[..., index] for key, tensor in tensors.items()}
                yield item | {"record": torch.tensor(number), "slice": torch.tensor(index)}

    def _slices_to_keep(self, record: Record, volume: Mapping[str, Any]) -> list[int]:
        """The slices of a volume: where masks are seen, those with an annotated pixel.

        Where they stay unseen, all but of a partly annotated volume, of which those without an annotated pixel.
        """
        count = volume["image"].shape[-1]
        if "label" not in self.keys and not record.partly_annotated:
            return list(range(count))
        annotated = (_without_metadata(volume["label"]) != IGNORED).reshape(-1, count).any(0)
        wanted = annotated if "label" in self.keys else ~annotated
        return torch.nonzero(wanted).flatten().tolist()

    def _rows(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """The records of some indices."""
        return self._tensors(self.stored[np.asarray(indices) % len(self)])

    def _tensors(self, rows: NDArray) -> dict[str, Tensor]:
        """Records as a tensor for each field."""
        return {key: torch.from_numpy(np.ascontiguousarray(rows[key])) for key in rows.dtype.names or ()}

    def _changed(self, items: list[dict[str, Tensor]], indices: Sequence[int]) -> dict[str, Tensor]:
        """Slices after MONAI's random transforms, as a batch of records that are not compact any more."""
        changed_items = []
        for item, index in zip(items, indices, strict=True):
            self.random.set_random_state(seed=_seed(self.seed, self.epoch, index))
            changed: Any = apply_transform(self.random, item)
            changed_items.append({key: _without_metadata(value) for key, value in changed.items()})
        as_it_is = {"scale": torch.ones(len(items)), "offset": torch.zeros(len(items))}
        return default_collate(changed_items) | as_it_is


def _without_metadata(value: Any) -> Any:
    """A tensor without its metadata: MONAI's MetaTensor makes each operation of a step slower."""
    return value.as_tensor() if isinstance(value, MetaTensor) else value


def _seed(*numbers: int) -> int:
    """One seed of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
