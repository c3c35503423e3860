"""A network as TorchScript and as ONNX, each compared with the network itself on the same slices."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ckpt_export, onnx_export
from torch import Tensor

from acdc_semicycle.artifacts.model import Model
from acdc_semicycle.runtime.errors import InputError, many

# Of a softmax probability. On real slices ONNX differed by 3e-5 to 9e-5 (other orders of summation, which instance
# norms magnify); half precision by 3e-3, another epsilon of the norms by 2e-2, another padding by 0.2.
TOLERANCE = 1e-3
LOUD = ("monai.bundle.scripts", "torch.onnx._internal.exporter._registration")


@dataclass(frozen=True)
class Check:
    """An exported network beside the eager one, on the same slices."""

    name: str
    slices: int
    largest: float  # difference of a softmax probability
    labels: float  # fraction of pixels whose label differs

    def __str__(self) -> str:
        return (
            f"{self.name}: {many(self.slices, 'slice')}, largest difference of a probability {self.largest:.1e}, "
            f"{self.labels:.3%} of the labels differ"
        )


def to_torchscript(root: Path, slices: Sequence[Tensor]) -> Callable[[Tensor], Tensor]:
    """Write models/model.ts, with metadata and configuration in it, and read it again."""
    target = root / "models" / "model.ts"
    with _quiet():
        # traced: scripting cannot read annotations of shapes, and nothing in the network depends on its input
        ckpt_export(**_arguments(root, target, slices), bundle_root=str(root))
        script = torch.jit.load(target, map_location="cpu").eval()
    return script


def to_onnx(root: Path, slices: Sequence[Tensor], model: Model) -> Callable[[Tensor], Tensor]:
    """Write models/model.onnx, of any batch size, and a session of onnxruntime that runs it."""
    import onnx
    import onnxruntime

    target = root / "models" / "model.onnx"
    options = {
        "input_names": ["image"],
        "output_names": ["pred"],
        "dynamo": True,
        "verbose": False,
        "external_data": False,
        "dynamic_shapes": ({0: torch.export.Dim("batch")},),
    }
    with _quiet():
        onnx_export(**_arguments(root, target, slices), converter_kwargs=options, bundle_root=str(root))
    exported = onnx.load(target)
    graph = exported.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        del part.metadata_props[:]  # where on this machine each layer's code is
    about = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))
    properties = {
        "classes": json.dumps(model.card["classes"]),
        "image_classes": about["image_classes"],
        "weights_sha256": model.sha256,
    }
    onnx.helper.set_model_props(exported, properties)
    onnx.save(exported, target)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(target, settings, providers=["CPUExecutionProvider"])
    return lambda batch: torch.as_tensor(session.run(None, {"image": batch.numpy()})[0])


def _arguments(root: Path, target: Path, slices: Sequence[Tensor]) -> dict[str, Any]:
    """The arguments of both of MONAI's exports."""
    configs, models = root / "configs", root / "models"
    return {
        "net_id": "network_def",
        "filepath": str(target),
        "ckpt_file": str(models / "model.pt"),
        "meta_file": str(configs / "metadata.json"),
        "config_file": str(configs / "inference.json"),
        "use_trace": True,
        "input_shape": [2, *slices[0].shape[1:]],  # a batch of one would become a constant
    }


def compare(
    name: str, network: Callable[[Tensor], Tensor], exported: Callable[[Tensor], Tensor], slices: Sequence[Tensor]
) -> Check:
    """Run both networks on every slice.

    Raises:
        InputError: their probabilities differ by more than ``TOLERANCE``.
    """
    differences, differing, pixels = [], 0, 0
    with torch.inference_mode():
        for volume in slices:
            for batch in volume.split(4):
                own, others = network(batch).softmax(1), exported(batch).softmax(1)
                differences.append((own - others).abs().max())
                differing += int((own.argmax(1) != others.argmax(1)).sum())
                pixels += own.argmax(1).numel()
    check = Check(name, sum(map(len, slices)), float(torch.stack(differences).max()), differing / pixels)
    if not check.largest <= TOLERANCE:  # NaN is not, either
        raise InputError(
            f"{check}: more than {TOLERANCE:g}, so nothing is written; report it with the versions of torch and onnx"
        )
    return check


@contextmanager
def _quiet() -> Iterator[None]:
    """Run without the messages that torch and MONAI write at every export, right or wrong."""
    loggers = [logging.getLogger(name) for name in LOUD]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
