"""The settings' table: the page that is made of it, and that nothing is missing in it."""

import json
from pathlib import Path

from acdc_semicycle.config import overlays, settings

ROOT = Path(__file__).parents[2]
TRAIN = json.loads((ROOT / "bundles" / "semicycle" / "configs" / "train.json").read_text())
MADE = {
    "dataset",
    "ckpt_dir",
    "checkpoint",
    "amp_kwargs",
    "lr_decay",
    "presets",
    "preset",
}  # follow from others
OWN_DATA = [overlays.read(ROOT / "configs" / f"{name}.yaml") for name in ("own_scans", "own_pictures")]
ELSEWHERE = {"network_def", "check"}  # a user may set them, though they stand among the bundle's parts


def test_the_page_is_made_of_the_table():
    assert (ROOT / "docs" / "settings.md").read_text() == settings.page()


def test_every_key_that_a_user_may_set_is_in_the_table():
    keys = list(TRAIN)
    meant = keys[keys.index("dataset_dir") : keys.index("data")]
    described = [setting.name for rows in settings.SECTIONS.values() for setting in rows]
    assert len(described) == len(set(described))
    own = {key for overlay in OWN_DATA for key in overlay.keys() - TRAIN.keys()}
    assert own == {"images", "masks", "patient"} and TRAIN.keys() >= ELSEWHERE
    assert {name for name in described if "::" not in name} == (set(meant) - MADE) | own | ELSEWHERE


def test_a_default_that_your_own_data_change_is_told_with_the_overlay():
    meanings = {setting.name: setting.meaning for rows in settings.SECTIONS.values() for setting in rows}
    changed = []
    for overlay in OWN_DATA:
        for name, value in overlay.items():
            if name not in meanings or value is None or isinstance(value, bool) or str(value)[0] in "$@":
                continue
            assert f"`{json.dumps(value)}` with " in meanings[name], name
            assert f"`{overlay['dataset']}`" in meanings[name], name
            changed.append(name)
    assert changed == ["labelled", "labelled", "channels", "intensity_range", "selection_metric"]


def test_a_default_is_what_the_bundle_has_and_the_demonstrations_is_in_brackets():
    assert settings.default_of("betas", TRAIN) == "`[0.5, 0.999]`"
    assert settings.default_of("epochs", TRAIN) == "`400` (`10`)"


def test_defaults_in_words_are_of_expressions_alone():
    for rows in settings.SECTIONS.values():
        for setting in rows:
            value = TRAIN.get(setting.name, "$")
            in_words = isinstance(value, dict) or (str(value)[0] in "$@" and "@preset[" not in str(value))
            assert (setting.default is not None) == in_words, setting.name


def test_every_rule_holds_of_its_default():
    for name, rule in settings.RULES.items():
        value = TRAIN.get(name, "$")
        assert str(value)[0] in "$@" or rule.holds(value), name
