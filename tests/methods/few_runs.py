"""Real trainings with few.yaml and the overlay of a method, on the small phantom."""

from pathlib import Path

import torch
from monai.bundle import ConfigWorkflow

ROOT = Path(__file__).parents[2]
STEPS = 3  # of an epoch, of which there are two
SMALL = {"image_size": [64, 64], "window": [32, 32], "epochs": 2, "steps_per_epoch": STEPS, "batch_size": 2}
SMALL |= {"labelled": 3, "validation": 0.0, "device": "cpu"}
FEATURES = {"network_def::features": [4, 4, 4, 8, 8, 4]}  # of few.yaml's own network


def workflow(folder: Path, phantom_dir: Path, *methods: str, **override) -> ConfigWorkflow:
    """The training of ``semicycle train few``, with the overlay of a method if one is named."""
    files = ["bundles/semicycle/configs/train.json", "configs/few.yaml"]
    files += [f"configs/{method}.yaml" for method in methods]
    folders = {"output_dir": str(folder), "cache_dir": str(folder.parent / "cache"), "dataset_dir": str(phantom_dir)}
    settings = SMALL | ({} if "network_def" in override else FEATURES) | folders | override
    return ConfigWorkflow([str(ROOT / file) for file in files], logging_file=False, **settings)


def train(folder: Path, phantom_dir: Path, *methods: str, **override) -> None:
    """Train, or continue a training."""
    flow = workflow(folder, phantom_dir, *methods, **override)
    flow.initialize()
    flow.run()


def state(folder: Path) -> dict:
    """Of the objective after the last step."""
    return torch.load(folder / "models" / "last.pt", weights_only=True)["objective"]


def check_resume(folder: Path, phantom_dir: Path, method: str, **override) -> None:
    """A training that is stopped after its first epoch and continued ends with the bits of one that is not."""
    train(folder / "straight", phantom_dir, method, **override)
    train(folder / "resumed", phantom_dir, method, **override, **{"train::trainer::max_epochs": 1})
    first = state(folder / "resumed")
    train(folder / "resumed", phantom_dir, method, **override)
    straight, resumed = state(folder / "straight"), state(folder / "resumed")
    assert straight.keys() == resumed.keys() == first.keys()
    for key, value in straight.items():  # tensors, numbers and, of image pools, lists of tensors
        torch.testing.assert_close(resumed[key], value, rtol=0, atol=0, equal_nan=True, msg=key)
    assert not torch.equal(first["G_IS.final_conv.weight"], straight["G_IS.final_conv.weight"])
    assert (folder / "straight" / "models" / "model.pt").is_file()
