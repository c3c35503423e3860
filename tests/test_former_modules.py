"""Modules that have moved: what names them in a configuration of before finds them."""

import sys

import pytest
from monai.bundle import ConfigParser
from processes import run

from acdc_semicycle.former_modules import MODULES

NAMED = {  # by the bundle's configurations, the overlays and exported zips before version 0.2
    "baselines.hung.FullyConvolutionalDiscriminator": "methods.hung",
    "baselines.hung.Hung": "methods.hung",
    "baselines.supervised.Supervised": "methods.supervised",
    "checkpoints.Checkpoints": "training.checkpoints",
    "data.augment.Augment": "data.augment",
    "data.pairs.Pairs": "data.pairs",
    "data.pairs.Slices": "data.pairs",
    "data.pairs.read": "data.pairs",
    "data.splits.split": "data.splits",
    "data.transforms.AntiAliasd": "data.transforms",
    "data.transforms.CheckLabeld": "data.transforms",
    "data.transforms.LoadCheckedd": "data.transforms",
    "data.transforms.ScaleImaged": "data.transforms",
    "evaluate.Report": "evaluation.model_report",
    "handlers.Balance": "training",
    "handlers.Pictures": "training",
    "handlers.StopAtNonFinite": "training",
    "handlers.TermsLog": "training",
    "metrics.MeanDice": "evaluation.metrics",
    "metrics.MeanIoU": "evaluation.metrics",
    "metrics.PooledIoU": "evaluation.metrics",
    "networks.PixelDiscriminator": "methods.networks",
    "networks.ResidualGenerator": "methods.networks",
    "quirks.IndexJudge": "quirks",
    "refine.FlipInferer": "inference.postprocessing",
    "refine.OnOwnGridd": "inference.postprocessing",
    "refine.Refined": "inference.postprocessing",
    "scans.Scans": "inference.inputs",
    "semicycle.SemiCycle": "methods.semicycle",
    "trainer.SemiCycleTrainer": "training.trainer",
}


@pytest.mark.parametrize("former", NAMED)
def test_a_component_is_found_by_its_former_name(former):
    target = f"acdc_semicycle.{former}"
    parser = ConfigParser({"part": {"_target_": target, "_mode_": "callable"}})
    assert parser.get_parsed_content("part").__module__.startswith(f"acdc_semicycle.{NAMED[former].split('.')[0]}")


@pytest.mark.parametrize("former", MODULES)
def test_a_module_is_the_one_of_today(former):
    module = __import__(f"acdc_semicycle.{former}", fromlist=["it"])
    assert module is sys.modules[f"acdc_semicycle.{MODULES[former]}"]
    assert module.__name__ == module.__spec__.name == f"acdc_semicycle.{MODULES[former]}"


def test_a_module_that_never_was_is_not_found():
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'acdc_semicycle\.nothing'"):
        __import__("acdc_semicycle.nothing")


def test_it_says_so_once():
    program = "import acdc_semicycle.networks, acdc_semicycle.networks"
    done = run("-c", program)
    line = "acdc_semicycle.networks is now acdc_semicycle.methods.networks: the former name is understood until 0.3\n"
    assert (done.returncode, done.stderr) == (0, line)
