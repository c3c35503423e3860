"""The Python interface: a trained network as a function from a scan to its segmentation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from acdc_semicycle.artifacts.model import PRETRAINED, Model
from acdc_semicycle.config.locations import folder
from acdc_semicycle.config.parser import value_of
from acdc_semicycle.inference import sources
from acdc_semicycle.inference.frames import FrameSegmenter, check_flips
from acdc_semicycle.inference.segmentation import Segmentation
from acdc_semicycle.runtime import distributed
from acdc_semicycle.runtime.errors import InputError, mistakes_alone

CONFIG = Path("configs") / "inference.json"  # of the bundle


class Segmenter:
    """A trained network as a function: a scan in, its segmentation on the scan's own grid out.

    It is what ``semicycle predict`` does with each scan, with the same options and defaults and the same checks, and it
    writes no file. The network is read once. Several segmenters in one process do not disturb each other, and one may
    be called from several threads: one scan at a time then goes through the network, others are read meanwhile.

    Args:
        model: what ``--model`` names: a training run's folder, its ``model.pt``, a folder of folds, or a zip of
            ``semicycle export``; by default the pretrained network of this package.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or a ``torch.device``; by default a GPU where there is one.
        flips: whether to average over the mirror images of each slice; by default where the network was trained on
            them.
        cycle: whether to paint each scan back for its scores without a truth; by default yes, where the method can.
        largest: whether to keep the largest component of each structure alone; by default for hearts.
        holes: whether to fill what the structures of a slice enclose; by default no.
        amp: whether to compute in mixed precision; by default no.

    Attributes:
        classes: names of the classes, the background first.

    Raises:
        InputError: no network is there, or it is damaged; a device that this machine lacks; mirror images for a network
            that was not trained on them.

    A scan that lies in a file, as ``semicycle predict`` reads it:

    >>> from acdc_semicycle import Segmenter
    >>> segment = Segmenter("runs/acdc-few")
    >>> segment.classes
    ('background', 'RV', 'MYO', 'LV')
    >>> result = segment("scan.nii.gz")
    >>> result.labels.shape, result.labels.dtype.name
    ((20, 28, 5), 'uint8')
    >>> result.probabilities().shape
    (4, 20, 28, 5)
    >>> sorted(result.volumes_ml)
    ['LV', 'MYO', 'RV']

    An array with its affine, or at least its spacing in mm:

    >>> import nibabel
    >>> image = nibabel.load("scan.nii.gz")
    >>> voxels = image.get_fdata()
    >>> bool((segment(voxels, affine=image.affine).labels == result.labels).all())
    True
    >>> segment(voxels, spacing=(1.4, 1.6, 9.0)).labels.shape
    (20, 28, 5)

    SimpleITK's images, whose arrays are [Z, Y, X], and back:

    >>> import SimpleITK as sitk
    >>> result = segment(sitk.ReadImage("scan.nii.gz"))
    >>> result.labels.shape, result.to_simpleitk().GetSize()
    ((5, 28, 20), (20, 28, 5))
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = PRETRAINED,
        *,
        device: str | torch.device | None = None,
        flips: bool | None = None,
        cycle: bool | None = None,
        largest: bool | None = None,
        holes: bool | None = None,
        amp: bool | None = None,
    ) -> None:
        switches = {"flips": flips, "cycle": cycle, "largest": largest, "holes": holes, "amp": amp}
        self._frame_segmenter, self._model = opened(model, device, switches)
        self.classes: tuple[str, ...] = tuple(self._model.card["classes"])

    def __call__(self, scan: Any, *, affine: Any = None, spacing: Any = None) -> Segmentation:
        """Segment one scan, or one picture where the network was trained on pictures.

        Args:
            scan: one of

                - a path: NIfTI, NRRD, MetaImage, a folder of one DICOM series, or a picture;
                - a NumPy array [X, Y, Z] or [X, Y, Z, frames], with its affine or its spacing;
                - a torch tensor [X, Y, Z] or [1, X, Y, Z], with the same; a MONAI MetaTensor has its affine;
                - a nibabel image;
                - a SimpleITK image;
                - for a network of pictures a Pillow image, an array [rows, columns] or [rows, columns, 3], or a tensor
                  [channels, rows, columns].
            affine: of an array or a tensor: [4, 4], voxel indices to the patient's right, front and head (RAS) in mm,
                as nibabel has it.
            spacing: of an array or a tensor, instead of ``affine``: mm along each axis. The axes are then taken as to
                the patient's right, front and head, which the network sees: give the affine where you have it.

        Raises:
            InputError: one line on what was given, what was expected and what to do: the path is not there, or a folder
                of several scans; no geometry, or two; voxels that are NaN, constant or labels; a picture for a network
                of scans, and the other way round; all else that ``semicycle predict`` refuses.
        """
        with mistakes_alone():
            source = sources.read(scan, affine, spacing, self._model.card)
            prepared = [self._frame_segmenter.prepared(item) for item in source.items]
            frames = self._frame_segmenter.segmented(prepared)
            return Segmentation(frames, source.volume, source.axes, self._model)

    def __repr__(self) -> str:
        """The network and its classes in a line."""
        return f"Segmenter({str(self._model.path)!r}: {', '.join(self.classes)})"


def opened(
    model: str | os.PathLike[str], device: str | torch.device | None, switches: Mapping[str, Any]
) -> tuple[FrameSegmenter, Model]:
    """A network on disk as :class:`Segmenter` uses it, whose frames keep their probabilities.

    Args:
        model, device: as of :class:`Segmenter`.
        switches: its other arguments; None for the default.

    Raises:
        InputError: as of :class:`Segmenter`.
    """
    config = ConfigParser(ConfigParser.load_config_file(folder("bundles/semicycle") / CONFIG))
    config["checkpoint"] = Path(model)
    if device is not None:
        distributed.check_device(device)
        config["device"] = torch.device(device)
    for name, value in switches.items():
        if value is not None:
            config[name] = _checked_switch(name, value)
    network_on_disk = value_of(config, "model")
    check_flips(value_of(config, "flips"), network_on_disk)
    with torch.random.fork_rng(devices=[]):  # a new network's weights are drawn, and MONAI's loader seeds anew
        evaluator, network, image_generator = (value_of(config, key) for key in ("evaluator", "network", "G_SI"))
    evaluator.data_loader.generator = torch.Generator()  # else it would draw from the process's random state
    return FrameSegmenter(evaluator, network, image_generator, network_on_disk, keep=True), network_on_disk


def _checked_switch(name: str, value: Any) -> bool:
    """A switch that is on or off; a text would be code to MONAI's configuration."""
    if not isinstance(value, bool):
        raise InputError(f"{name} is {value!r}: give True or False")
    return value
