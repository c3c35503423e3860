"""Where modules were before version 0.2. Configurations, zips and overlays that name them find them until 0.3."""

from __future__ import annotations

import logging
import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MODULES = {
    "baselines": "methods",
    "baselines.hung": "methods.hung",
    "baselines.supervised": "methods.supervised",
    "check": "data.check",
    "checkpoints": "training.checkpoints",
    "data.acdc": "datasets.acdc",
    "data.cityscapes": "datasets.cityscapes",
    "data.folder": "datasets.folder",
    "data.phantom": "datasets.phantom",
    "data.records": "datasets.records",
    "data.voc": "datasets.voc",
    "data.volumes": "imageio.volumes",
    "distributed": "runtime.distributed",
    "errors": "runtime.errors",
    "evaluate": "evaluation.model_report",
    "export": "artifacts.export",
    "handlers": "training",
    "history": "methods.image_pool",
    "losses": "methods.losses",
    "metrics": "evaluation.metrics",
    "models": "artifacts.model",
    "networks": "methods.networks",
    "objective": "methods.objective",
    "places": "config.locations",
    "predict": "inference.predict",
    "refine": "inference.postprocessing",
    "scans": "inference.inputs",
    "semicycle": "methods.semicycle",
    "settings": "config.validate",
    "states": "artifacts.weights",
    "trainer": "training.trainer",
}


class _Alias(Loader):
    """Puts the module of today in the place of the one that was asked for."""

    def __init__(self, name: str) -> None:
        self.name = name

    def exec_module(self, module: ModuleType) -> None:
        logging.getLogger("semicycle").warning(
            "%s is now %s: the former name is understood until 0.3", module.__name__, self.name
        )
        sys.modules[module.__name__] = import_module(self.name)


class FormerModules(MetaPathFinder):
    """Finds the module of today under its former name."""

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        package, _, name = fullname.partition(".")
        if package != "acdc_semicycle" or name not in MODULES:
            return None
        return ModuleSpec(fullname, _Alias(f"{package}.{MODULES[name]}"))
