"""The settings: what each is, what may stand there. docs/settings.md is made of this table:

python -m acdc_semicycle.config.settings > docs/settings.md
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from monai.utils.misc import MAX_SEED

from acdc_semicycle.config.locations import folder
from acdc_semicycle.data.splits import Split


@dataclass(frozen=True)
class Rule:
    """What may stand at a setting.

    Attributes:
        words: the rule as it is told to a user: ``give {words}``.
        holds: whether a value keeps it. An expression is not asked: its value shows itself only later.
    """

    words: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class Setting:
    """One row of docs/settings.md.

    Attributes:
        name: the key; ``::...`` stands for all keys below a section.
        meaning: what it is, for a user.
        default: in words, where train.json holds an expression; else it is read from there.
        rule: what may stand there; None where only running shows.
    """

    name: str
    meaning: str
    default: str | None = None
    rule: Rule | None = None


def whole(least: int, optional: bool = False) -> Rule:
    """A whole number from ``least`` on, or also null."""
    words = f"a whole number of at least {least}" + (", or null" if optional else "")
    return Rule(words, lambda value: (optional and value is None) or (type(value) is int and value >= least))


def real(words: str, within: Callable[[float], bool]) -> Rule:
    """A number that is ``within``."""
    return Rule(words, lambda value: type(value) in (int, float) and within(value))


def pair(words: str, within: Callable[[float], bool]) -> Rule:
    """A list of two numbers, each of which is ``within``."""
    number = real("a number", within)

    def holds(value: Any) -> bool:
        """Whether a value is such a list."""
        return isinstance(value, list | tuple) and len(value) == 2 and all(map(number.holds, value))

    return Rule(words, holds)


def _is_decay(value: Any) -> bool:
    """Whether a value is null or the decay of a running mean."""
    return value is None or (type(value) in (int, float) and 0 <= value < 1)


PARTS = [part.name for part in fields(Split)]
SWITCH = Rule("True or False", lambda value: isinstance(value, bool))
AMOUNT = real("a number of at least 0", lambda v: 0 <= v < math.inf)
PAIR = pair("two numbers", math.isfinite)
PROBABILITY = real("a probability, 0 to 1", lambda v: 0 <= v <= 1)
SEED = Rule(f"a whole number of 0 to {MAX_SEED - 1}", lambda value: type(value) is int and 0 <= value < MAX_SEED)
RANGE = Rule(
    "the lowest and the highest intensity, or null",
    lambda value: value is None or (PAIR.holds(value) and value[0] < value[1]),
)
LIST_OF_PARTS = Rule(
    f"a list of the split's parts: {PARTS}",
    lambda value: isinstance(value, list | tuple) and all(part in PARTS for part in value),
)
A_PART = Rule(f"a part of the split: {', '.join(PARTS)}", lambda value: value in PARTS)

SECTIONS: dict[str, list[Setting]] = {
    "Data": [
        Setting("dataset_dir", "the data set's folder; without one the phantom", "`ACDC_DIR` of the environment"),
        Setting("output_dir", "the folder of a run", "`runs/` and [a name](train.md#presets-and-overlays)"),
        Setting(
            "cache_dir",
            "prepared slices; can be deleted, and shared by runs",
            "`output_dir/cache`, or `SEMICYCLE_CACHE`",
        ),
        Setting(
            "labelled",
            "a fraction of the training patients with masks, or a number of them;"
            " `1.0` with `own_scans` and `own_pictures`",
        ),
        Setting("split_unit", "what is split: `patient`, or `slice` as in the published code"),
        Setting("validation", "fraction of the patients with masks; at least one patient"),
        Setting("test", "the same; 0 for none. Not for data sets with a testing part of their own"),
        Setting("train_list", "a file with a patient a line, in place of fractions"),
        Setting("validation_list", "the same, beside `train_list`; null: none is validated, and `keep` is `last`"),
        Setting("test_list", "the same"),
        Setting(
            "mended",
            "a folder of [masks that came back](data.md#masks-that-come-back), whose patients are labelled, too; null:"
            " none",
        ),
        Setting("drafts", "the `drafts.json` of their drafts; null: the one in the folder, or above it"),
        Setting(
            "accept_drafts",
            "whether drafts are truth as they are: unchanged ones, and the slices that nobody changed",
            rule=SWITCH,
        ),
        Setting(
            "split::spare",
            "with fewer patients with masks than these, all are trained on: none is left to validate or to test",
            "0; `5` with `few`",
        ),
        Setting(
            "split::fold",
            "`[0, 3]` is the first of three folds: the labelled patients that it leaves out are validated, and no"
            " others; `--folds` gives it",
            "none",
        ),
        Setting("seed", "of the split, the weights, the order and the augmentation", rule=SEED),
        Setting("classes", "names, the background first", "those of ACDC; none with your own data: give them"),
        Setting("colours", "red, green, blue of each class", "those of ACDC"),
        Setting("mask_values", "the class of each value in a mask, 255 for not annotated; null: values are classes"),
        Setting(
            "channels",
            "of an image: 1 grey, 3 colours; `3` with `own_pictures`",
            rule=Rule("1 or 3", lambda value: type(value) is int and value in (1, 3)),
        ),
        Setting(
            "intensity_range",
            "what becomes -1 and 1; null: each volume's percentiles 0.5 and 99.5; `[0, 255]` with `own_pictures`",
            rule=RANGE,
        ),
        Setting(
            "image_size",
            "rows and columns that the networks see: multiples of 4 for `ResidualGenerator`;"
            " [other networks](train.md#networks) ask for more",
        ),
        Setting(
            "window",
            "rows and columns of windows of a slice that the networks see (`train::augment` gives them); null: whole"
            " slices",
        ),
        Setting(
            "flips",
            "whether validation and reports average over a slice's mirror images: four times the work",
            "true where `train::augment::flips` has both",
            rule=SWITCH,
        ),
        Setting("check", "the parts whose files are checked before a training; `[]` for none", rule=LIST_OF_PARTS),
        Setting(
            "demo",
            "whether the preset is `demonstration`, and the data set is called `phantom`",
            "true without a `dataset_dir`; false with an overlay of another data set",
        ),
    ],
    "Own data, with the overlay `own_scans` or `own_pictures`": [
        Setting("images", "the folder of your scans or pictures", "none: give it"),
        Setting("masks", "the folder of their masks, for some of them or for all", "`images`"),
        Setting(
            "patient",
            "a regular expression with one group: whose image it is, by its name without the suffix",
            "each image is a patient",
        ),
    ],
    "Training": [
        Setting(
            "minutes",
            "that the whole training may take: `epochs` is set to what fits, measured on this machine; null: `epochs`",
            rule=Rule("a number above 0, or null", lambda v: v is None or (type(v) in (int, float) and v > 0)),
        ),
        Setting("epochs", "in all; a run that is given more continues"),
        Setting("steps_per_epoch", "null: each slice of the larger set is seen once", rule=whole(1, optional=True)),
        Setting("batch_size", "labelled slices of a step"),
        Setting("unlabelled_batch_size", "unlabelled slices of a step", "`batch_size`", whole(1)),
        Setting(
            "learning_rate",
            "of Adam, for generators and discriminators",
            rule=real("a number above 0", lambda v: 0 < v < math.inf),
        ),
        Setting("betas", "of Adam", rule=pair("two numbers of at least 0 and below 1", lambda v: 0 <= v < 1)),
        Setting(
            "constant_epochs",
            "epochs before the rate falls linearly to 0",
            "a quarter of `epochs`",
            whole(0),
        ),
        Setting("decay_by_epoch", "whether the rate changes after each epoch, or after each step", rule=SWITCH),
        Setting(
            "labelled_loss",
            "of the segmenter on labelled images: `cross_entropy`, `cross_entropy_and_dice`",
        ),
        Setting(
            "average",
            "decay of the running mean of the segmenter's weights, which is then the network that is kept; null: none",
            rule=Rule("a number of at least 0 and below 1, or null", _is_decay),
        ),
        Setting(
            "from",
            "a run's folder, model.pt or zip, whose network's weights [this one starts from](train.md#a-warm-start);"
            " `pretrained`: the package's own; null or `none`: random weights",
        ),
        Setting(
            "weights",
            "of the terms: `gen_S`, `gen_I`, `cycle_S`, `cycle_I`, `adv_S`, `adv_I`, `disc_S`, `disc_I`",
            "those of the equations (`gen_S` 10)",
        ),
        Setting("pool_size", "earlier fakes that each discriminator is shown again; 0 for none", rule=whole(0)),
        Setting("pool_seed", "of what is drawn from them", "`seed`", SEED),
        Setting(
            "train::augment::...",
            "`flips`, `rotate`, `scale`, `shift`, `elastic`, `gain`, `offset`, `geometry`, `intensity`:"
            " [their units](train.md#augmentation)",
            "nothing",
        ),
        Setting("train::views::...", "the augmentation of each view of an unlabelled slice", "`u`: `train::augment`"),
        Setting("train::random_transforms::...", "MONAI's own random transforms by a name each, on the CPU", "none"),
        Setting("val_interval", "epochs between validations"),
        Setting(
            "keep",
            "which network: that of the `best` validated epoch, or of the `last` one",
            rule=Rule("best or last", lambda value: value in ("best", "last")),
        ),
        Setting(
            "selection_metric",
            'which decides the epoch that is kept: `dice`, `iou`, `miou`, `paper_miou`; `"miou"` with `own_pictures`',
        ),
        Setting("paper_miou_without", "a class that the published code leaves out of its mIoU"),
    ],
    "Networks": [
        Setting(
            "network_def",
            "the segmenter: [a class of the list](train.md#networks) with its arguments",
            "`ResidualGenerator` with the keys below",
        ),
        Setting("filters", "channels of the first layer of each `ResidualGenerator`", rule=whole(1)),
        Setting("blocks", "residual blocks", rule=whole(0)),
        Setting(
            "dropout",
            "in each residual block",
            rule=real("a number of at least 0 and below 1", lambda v: 0 <= v < 1),
        ),
        Setting("d_filters", "channels of the discriminators' first layer", rule=whole(1)),
    ],
    "Machine": [
        Setting("device", "`cpu`, `cuda:1`", "CUDA where there is one"),
        Setting("amp", "bf16", rule=SWITCH),
        Setting("checkpointing", "a sixth of the memory for a fifth more time", rule=SWITCH),
        Setting("num_workers", "processes for `random_transforms`; nothing else is worth one", rule=whole(0)),
        Setting("deterministic", "the same numbers each time on a GPU, too", rule=SWITCH),
    ],
}
BELOW: dict[str, Rule] = {  # rules of keys that stand in a section
    "evaluated": A_PART,
    "train::augment::flips": pair("two probabilities, of rows and of columns", lambda v: 0 <= v <= 1),
    **{f"train::augment::{name}": AMOUNT for name in ("rotate", "scale", "shift", "elastic", "gain", "offset")},
    **{f"train::augment::{name}": PROBABILITY for name in ("geometry", "intensity")},
}
RULES: dict[str, Rule] = BELOW | {
    setting.name: setting.rule for settings in SECTIONS.values() for setting in settings if setting.rule
}

HEAD = """# Settings

What can be set after the command (`--labelled 7`, `--weights::adv_S 0`) or in an overlay. The default is the paper's;
the demonstration's, on the phantom, is in brackets. Everything else in `train.json` is made of these, and can be
replaced by its path as in any MONAI bundle. This page is made by `python -m acdc_semicycle.config.settings`.

| key | default | what it is |
|---|---|---|
"""


def page() -> str:
    """docs/settings.md."""
    text = (folder("bundles/semicycle") / "configs" / "train.json").read_text(encoding="utf-8")
    config = json.loads(text)
    lines = []
    for section, settings in SECTIONS.items():
        lines.append(f"| **{section}** | | |")
        lines += [f"| `{s.name}` | {s.default or default_of(s.name, config)} | {s.meaning} |" for s in settings]
    return HEAD + "\n".join(lines) + "\n"


def default_of(name: str, config: dict[str, Any]) -> str:
    """A setting's default as train.json has it, with the demonstration's in brackets where it has one of its own."""
    value = config[name]
    from_preset = re.fullmatch(r"\$@preset\['(\w+)'\]", str(value))
    if not from_preset:
        return f"`{json.dumps(value)}`"
    paper, demonstration = (config["presets"][preset][from_preset[1]] for preset in ("paper", "demonstration"))
    return f"`{json.dumps(paper)}` (`{json.dumps(demonstration)}`)"


if __name__ == "__main__":
    sys.stdout.write(page())
