"""Which patients a network knows: by names, by the contents of images, and of folds."""

import json
from pathlib import Path

import pytest
import torch

from acdc_semicycle.artifacts import weights
from acdc_semicycle.artifacts.known_patients import KnownPatients, names_of
from acdc_semicycle.artifacts.model import open_model
from acdc_semicycle.data.parts import PARTS, in_words, strongest
from acdc_semicycle.methods.networks import ResidualGenerator


def run_of(folder: Path, patients=None, images=None, **parts) -> Path:
    """The split.json of a training, with its other files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("split", parts), ("patients", patients), ("images", images)):
        if content is not None:
            (folder / f"{name}.json").write_text(json.dumps(content))
    return folder / "split.json"


def test_the_part_of_a_patient_is_that_of_the_split_and_others_are_new(tmp_path):
    split = run_of(tmp_path, labelled=["a"], unlabelled=["b"], validation=["c"], test=["d"])
    known = KnownPatients([split])
    assert [known.part_of({name}) for name in "abcde"] == [part for part in PARTS if part != "held out"]
    assert known.part_of({"d", "b"}) == "unlabelled"
    assert KnownPatients([]).part_of({"a"}) is None


def test_validation_patients_that_chose_no_epoch_are_held_out(tmp_path):
    split = run_of(tmp_path, {"scan": "c"}, {"scan": "ff"}, labelled=["a"], validation=["c"])
    known = KnownPatients([split], kept_last=True)
    assert [known.part_of({name}) for name in "ace"] == ["labelled", "held out", "new"]
    assert known.part_of({"copy"}, "ff") == "held out"


def test_a_copy_under_another_name_is_known_by_its_contents(tmp_path):
    images = {"scan1": "ff", "scan3": "cc"}
    known = KnownPatients([run_of(tmp_path, {"scan1": "a"}, images, labelled=["a"], test=["d"])])
    assert known.part_of({"stranger"}, "ff") == "labelled" and known.part_of({"stranger"}, "00") == "new"
    assert known.differs("scan1", "00")
    assert not known.differs("scan1", "cc"), "it is another image that was seen"
    assert not known.differs("scan1", "ff") and not known.differs("scan2", "00") and not known.differs("scan1", None)


def test_the_volume_of_a_slice_that_was_trained_on_is_known(tmp_path):
    split = run_of(tmp_path, None, {"v_slice001": "ff"}, labelled=["v_slice003"], test=["v_slice001", "w_slice000"])
    known = KnownPatients([split])
    assert [known.part_of({name}) for name in ("v", "w", "x")] == ["labelled", "test", "new"]
    assert known.part_of({"copy"}, "ff") == "labelled"


def test_folds_know_a_patient_by_the_fold_that_knows_most(tmp_path):
    network = ResidualGenerator(1, 4, filters=2, blocks=1)
    torch.manual_seed(0)
    for number, (labelled, validation) in enumerate((("a", "b"), ("b", "a"))):
        run_of(tmp_path / f"fold_{number}", labelled=[labelled], validation=[validation], test=["d"], unlabelled=[])
        path = tmp_path / f"fold_{number}" / "models" / "model.pt"
        weights.save(path, network.state_dict())
        path.with_suffix(".json").write_text(json.dumps({"filters": 2, "blocks": 1, "image_size": [24, 32]}))
    known = KnownPatients.of(open_model(tmp_path))
    assert [known.part_of({name}) for name in "abde"] == ["labelled", "labelled", "test", "new"]
    alone = KnownPatients.of(open_model(tmp_path / "fold_0"))
    assert alone.part_of({"b"}) == "validation"
    card = tmp_path / "fold_0" / "models" / "model.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"keep": "last"}))
    assert KnownPatients.of(open_model(tmp_path / "fold_0")).part_of({"b"}) == "held out"


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_damaged_split_is_named_and_knows_nobody(tmp_path, caplog, text):
    (tmp_path / "split.json").write_text(text)
    assert KnownPatients([tmp_path / "split.json"]).part_of({"a"}) is None
    assert "whom the network was trained on is not known" in caplog.text and "split.json" in caplog.text


@pytest.mark.parametrize("earlier", [{"patients": ["a"]}, {"patients": "abc"}, {"images": 5}, {"images": None}])
def test_a_damaged_file_of_the_network_before_is_named_and_the_split_counts(tmp_path, caplog, earlier):
    split = run_of(tmp_path, labelled=["a"])
    (tmp_path / "earlier.json").write_text(json.dumps(earlier))
    assert KnownPatients([split]).part_of({"a"}) == "labelled"
    assert f"{tmp_path / 'earlier.json'} is damaged ({next(iter(earlier))} has no parts by name)" in caplog.text


def test_a_split_may_know_a_case_by_its_patient_or_its_folder():
    assert names_of({"patient": "siteA/p1", "case": "siteA/p1/scan"}) == {
        "siteA/p1", "siteA", "p1", "siteA/p1/scan", "scan",
    }  # fmt: skip


def test_of_several_parts_the_one_that_was_seen_most_counts():
    assert strongest(["test", "held out"]) == "held out"
    assert strongest(["new", None, "validation", "test"]) == "validation" and strongest([None]) is None
    assert [in_words(list(parts)) for parts in ((), "a", "ab", "abc")] == ["", "a", "a and b", "a, b and c"]
