"""Keys of the configuration that have another name now; imports nothing slow, as a command looks here first."""

from collections.abc import Collection

from acdc_semicycle.runtime.errors import InputError

KEYS: dict[str, tuple[str, ...]] = {  # former name: where its value goes
    "by": ("split_unit",),
    "chosen_by": ("selection_metric",),
    "steps_an_epoch": ("steps_per_epoch",),
    "history_size": ("pool_size",),
    "history_seed": ("pool_seed",),
    "history": ("objective_def::image_pool",),
    "d_norm": ("objective_def::D_S::norm", "objective_def::D_I::norm"),
    "sampler": ("train::dataloader::sampler",),
}


def check_given_once(keys: Collection[str]) -> None:
    """Refuse a former key beside the present one: which of them is meant does not show.

    Args:
        keys: all that overlays and options give, without the bundle's own.

    Raises:
        InputError: names both.
    """
    for key, targets in KEYS.items():
        for target in targets:
            if key in keys and target in keys:
                raise InputError(f"both {key} and {target} are given, and {key} is the former name: remove {key}")
