"""A network on disk: where it is found, and what is refused."""

import hashlib
import json
import os
import zipfile
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigWorkflow
from processes import run

from acdc_semicycle import bundle
from acdc_semicycle.artifacts import export, exported_zip, weights
from acdc_semicycle.artifacts import model as model_files
from acdc_semicycle.artifacts.card import CARD as PAPER
from acdc_semicycle.artifacts.card import CLASSES
from acdc_semicycle.artifacts.checkpoint import check_network
from acdc_semicycle.artifacts.chosen_model import Run, model_for
from acdc_semicycle.methods.network_description import build
from acdc_semicycle.methods.networks import ResidualGenerator
from acdc_semicycle.runtime.errors import InputError

RESIDUAL = "acdc_semicycle.methods.ResidualGenerator"
CARD = {"image_size": [24, 32], "dataset": "acdc"}
FORMER = CARD | {"filters": 2, "blocks": 1}  # as versions before 0.2 wrote it


def generator(channels: int, out_channels: int, **more) -> dict:
    arguments = {"in_channels": channels, "out_channels": out_channels, "filters": 2, "blocks": 1}
    return {"class": RESIDUAL, "arguments": arguments | more}


NETWORKS = {"network": generator(1, 4), "image_generator": generator(4, 1, activation="tanh")}


@pytest.fixture
def model(tmp_path) -> Path:
    """What training leaves of a small network, and a fitted quality."""
    path = tmp_path / "run" / "models" / "model.pt"
    weights.save(path, ResidualGenerator(1, 4, filters=2, blocks=1).state_dict())
    weights.save(path.with_name("image_generator.pt"), ResidualGenerator(4, 1, filters=2, blocks=1).state_dict())
    path.with_suffix(".json").write_text(json.dumps(CARD | NETWORKS))
    path.with_name("quality.json").write_text('{"weights": {"cycle": 0.5}, "bias": 0.4}')
    return path


def zipped(target: Path, members: dict[str, bytes], root="bundle/", sums=True, method=zipfile.ZIP_STORED) -> Path:
    """A zip as `sha256sum models/* > SHA256SUMS` and any packer would make it."""
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in members.items()]
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in (members | ({"SHA256SUMS": "".join(lines).encode()} if sums else {})).items():
            archive.writestr(root + name, content)
    return target


def contents(model: Path) -> dict[str, bytes]:
    return {f"models/{path.name}": path.read_bytes() for path in model.parent.iterdir()}


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_network_is_found_by_its_file_its_run_or_the_runs_models(model):
    for given in (model, str(model), model.parent, model.parent.parent):
        found = model_files.open_model(given)
        assert found.path == model and found.split == model.parent.parent / "split.json"
        assert same(found.weights(), torch.load(model, weights_only=True))
    assert found.card == PAPER | {"classes": CLASSES} | CARD | NETWORKS
    assert found.sha256 == hashlib.sha256(model.read_bytes()).hexdigest()
    assert found.quality == {"weights": {"cycle": 0.5}, "bias": 0.4} and set(found.image_generator()) == set(
        found.weights()
    )


@pytest.mark.parametrize("root", ["bundle/", ""])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_is_the_network_that_is_in_it_and_nothing_is_unpacked(tmp_path, model, root, method, monkeypatch):
    path = zipped(tmp_path / "b.zip", contents(model) | {"notes.txt": b"x"}, root, method=method)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    found, plain = model_files.open_model(path), model_files.open_model(model)
    assert same(found.weights(), plain.weights()) and same(found.image_generator(), plain.image_generator())
    assert (found.card, found.quality, found.sha256) == (plain.card, plain.quality, plain.sha256)
    assert found.split is None and sorted(tmp_path.rglob("*")) == before


def test_without_a_card_the_network_is_the_papers_and_without_an_image_generator_there_is_none(tmp_path, model):
    for name in ("model.json", "image_generator.pt", "quality.json"):
        model.with_name(name).unlink()
    for given in (model, zipped(tmp_path / "b.zip", contents(model))):
        found = model_files.open_model(given)
        arguments = {"in_channels": 1, "out_channels": 4, "filters": 64, "blocks": 9, "dropout": 0.0}
        assert found.card["network"] == {"class": RESIDUAL, "arguments": arguments}
        assert (found.card["image_size"], found.card["classes"]) == ([200, 200], CLASSES)
        assert found.image_generator() is None and found.quality is None
    assert model_files.card(tmp_path / "no.pt")["network"]["arguments"]["filters"] == 64


def test_another_checkpoint_of_the_folder_has_its_own_card_and_not_the_image_generator(model):
    other = model.with_name("other.pt")
    other.write_bytes(model.read_bytes())
    other.with_suffix(".json").write_text('{"filters": 3}')
    found = model_files.open_model(other)
    assert (
        found.card["network"]["arguments"]["filters"] == 3 and found.image_generator() is None and found.quality is None
    )


@pytest.mark.parametrize("zip_it", [False, True])
def test_the_image_generator_of_an_earlier_version_is_read_under_its_old_name(tmp_path, model, zip_it):
    expected = torch.load(model.with_name("image_generator.pt"), weights_only=True)
    model.with_name("image_generator.pt").rename(model.with_name("painter.pt"))
    path = zipped(tmp_path / "b.zip", contents(model)) if zip_it else model
    assert same(model_files.open_model(path).image_generator(), expected)
    model.with_name("painter.pt").write_bytes(b"PK damaged")
    path = zipped(tmp_path / "b.zip", contents(model)) if zip_it else model
    with pytest.raises(InputError, match=r"painter\.pt is no readable checkpoint"):
        model_files.open_model(path).image_generator()


def test_where_both_names_are_there_the_new_one_counts(model):
    model.with_name("painter.pt").write_bytes(b"PK damaged")
    content = model.with_name("image_generator.pt").read_bytes()
    assert model_files.open_model(model).image_generator_file() == ("image_generator.pt", content)


def test_what_a_training_writes_meanwhile_does_not_mix_with_what_was_opened(model):
    found = model_files.open_model(model)
    before = torch.load(model, weights_only=True)
    weights.save(model, ResidualGenerator(1, 4, filters=2, blocks=1).state_dict())
    assert same(found.weights(), before) and found.sha256 != hashlib.sha256(model.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda members: members.pop("models/model.pt"), "holds no models/model.pt"),
        (lambda members: members.update({"copy/models/model.pt": b""}), "holds no models/model.pt"),
        (lambda members: members.update({"models/model.json": b"[1]"}), "model.json cannot be read .it is a list"),
        (lambda members: members.update({"models/model.json": b"{"}), "model.json cannot be read"),
        (lambda members: members.update({"models/model.json": b"[" * 100_000}), "model.json cannot be read"),
        (lambda members: members.update({"models/quality.json": b"1"}), "quality.json cannot be read"),
        (lambda members: members.update({"models/quality.json": b"{}"}), "quality.json has no weights"),
        (lambda members: members.update({"models/model.pt": bytes(20 << 20)}), "would unpack from"),
    ],
)
def test_a_zip_that_is_not_what_export_makes_is_refused_in_a_line(tmp_path, model, change, words):
    members = contents(model)
    change(members)
    path = zipped(tmp_path / "b.zip", members, method=zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match=f"b.zip.* {words}") as caught:
        model_files.open_model(path)
    assert "\n" not in str(caught.value)


def test_a_zip_without_checksums_or_with_others_is_refused(tmp_path, model):
    with pytest.raises(InputError, match="holds no bundle/SHA256SUMS"):
        model_files.open_model(zipped(tmp_path / "a.zip", contents(model), sums=False))
    for changed in ("models/model.pt", "models/model.json", "models/quality.json"):
        members = contents(model)
        lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in members.items()]
        members |= {changed: b'{"filters": 3}', "SHA256SUMS": "".join(lines).encode()}
        with pytest.raises(InputError, match=f"{changed} is not what SHA256SUMS says"):
            model_files.open_model(zipped(tmp_path / "b.zip", members, sums=False))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda members: members.pop("configs/metadata.json"),
            "configs/metadata.json is missing, which SHA256SUMS lists",
        ),
        (
            lambda members: members.update({"configs/metadata.json": b"{}"}),
            "configs/metadata.json is not what SHA256SUMS",
        ),
        (
            lambda members: members.update({"models/model.onnx": b"onnX"}),
            "models/model.onnx is not what SHA256SUMS says",
        ),
        (lambda members: members.update({"models/more.pt": b""}), "SHA256SUMS does not list models/more.pt"),
    ],
)
def test_a_zip_of_which_any_member_is_another_is_refused(tmp_path, model, change, words):
    whole = contents(model) | {"configs/metadata.json": b"{ }", "models/model.onnx": b"onnx"}
    model_files.open_model(zipped(tmp_path / "whole.zip", whole))
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in whole.items()]
    members = whole | {"SHA256SUMS": "".join(lines).encode()}
    change(members)
    with pytest.raises(InputError, match=words):
        model_files.open_model(zipped(tmp_path / "b.zip", members, sums=False))


@pytest.mark.parametrize("name", ["bundle/models/model.json", "models/model.json"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_two_members_of_one_name_is_refused(tmp_path, model, name):
    path = zipped(tmp_path / "b.zip", contents(model))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"{}")
    with pytest.raises(InputError, match=r"holds models/model\.json twice"):
        model_files.open_model(path)


def test_a_zip_that_names_its_folders_is_whole(tmp_path, model):
    path = zipped(tmp_path / "b.zip", contents(model))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("bundle/models/", b"")
    model_files.open_model(path)


def test_a_damaged_zip_is_refused(tmp_path, model):
    whole = zipped(tmp_path / "whole.zip", contents(model), method=zipfile.ZIP_DEFLATED).read_bytes()
    path = tmp_path / "b.zip"
    flipped = bytearray(whole)
    flipped[whole.index(b"model.pt") + 500] ^= 1
    for content in (b"", b"no zip", whole[:-100], whole[: len(whole) // 2], bytes(flipped)):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"b\.zip is no readable zip .*: copy it again"):
            model_files.open_model(path)
    with pytest.raises(InputError, match=r"no\.zip is not a file"):
        model_files.open_model(tmp_path / "no.zip")


def test_a_member_that_is_too_large_or_packed_without_bound_is_not_read(tmp_path, model, monkeypatch):
    path = zipped(tmp_path / "b.zip", contents(model), method=zipfile.ZIP_LZMA)
    with pytest.raises(InputError, match="which no network does"):
        model_files.open_model(path)
    zipped(path, contents(model))
    monkeypatch.setattr(exported_zip, "LARGEST", 1000)
    with pytest.raises(InputError, match="which no network does"):
        model_files.open_model(path)


@pytest.mark.parametrize("name", ["../outside", "bundle/../../outside", "/etc/outside", "..\\outside", "C:outside"])
def test_a_zip_that_would_be_unpacked_elsewhere_is_refused(tmp_path, model, name):
    path = zipped(tmp_path / "b.zip", contents(model))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(InputError, match=r"b\.zip: .*outside' is a link or lies outside"):
        model_files.open_model(path)


def test_a_link_in_a_zip_is_refused(tmp_path, model):
    path, link = zipped(tmp_path / "b.zip", contents(model)), zipfile.ZipInfo("bundle/models/elsewhere")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, b"/etc/passwd")
    with pytest.raises(InputError, match="is a link or lies outside"):
        model_files.open_model(path)


BOMB = """
import resource, sys
from acdc_semicycle.artifacts.model import open_model
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    open_model(sys.argv[1]).weights()
except ValueError as error:
    print(type(error).__name__, error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("said", ["truth", "lie"])
@pytest.mark.parametrize("name", ["models/model.pt", "models/notes.txt"])
def test_a_zip_bomb_is_refused_before_it_fills_the_memory(tmp_path, model, name, said):
    """A member of 400 MB in 0.4 MB; in the second case its header says 1,000 bytes."""
    path = tmp_path / "b.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for other, content in (contents(model) | {"SHA256SUMS": b""}).items():
            if other != name:
                archive.writestr(f"bundle/{other}", content)
        with archive.open(f"bundle/{name}", "w", force_zip64=True) as stream:
            for _ in range(40):
                stream.write(bytes(10_000_000))
        if said == "lie":
            archive.getinfo(f"bundle/{name}").file_size = 1000
    assert path.stat().st_size < 600_000
    *refused, taken = run("-c", BOMB, path).stdout.splitlines()
    assert int(taken) < 100
    assert [line.split()[0] for line in refused] == ["InputError"]


def test_a_training_state_is_no_network_wherever_it_lies(tmp_path, model):
    weights.save(model, {"settings": {}, "progress": {"epoch": 1}})
    for given in (model, zipped(tmp_path / "b.zip", contents(model))):
        with pytest.raises(InputError, match="the state of a training run, not a network"):
            model_files.open_model(given).weights()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\3\4"])
def test_damaged_weights_are_refused(tmp_path, model, content):
    model.write_bytes(content)
    for given in (model, zipped(tmp_path / "b.zip", contents(model))):
        with pytest.raises(InputError, match=f"{Path(given).name} is no readable checkpoint"):
            model_files.open_model(given).weights()


def test_weights_that_would_run_code_are_refused(tmp_path, model):
    torch.save({"layers": os.system}, model)
    with pytest.raises(InputError, match=r"no readable checkpoint \(UnpicklingError"):
        model_files.open_model(zipped(tmp_path / "b.zip", contents(model))).weights()


def test_a_card_that_is_no_object_is_refused_by_its_path(model):
    for content in ("[1]", "{", "7"):
        model.with_suffix(".json").write_text(content)
        for read in (model_files.open_model, model_files.card):
            with pytest.raises(InputError, match=r"models/model\.json cannot be read .*: restore it, or train again"):
                read(model)


@pytest.mark.parametrize(
    ("name", "value"),
    [("filters", "abc"), ("filters", 2.5), ("filters", True), ("filters", 1000000), ("blocks", -1), ("blocks", 257),
     ("blocks", 10**6),
     ("dropout", 7), ("dropout", 1), ("dropout", -0.1), ("classes", 5), ("classes", ["a"]), ("image_size", "x"),
     ("image_size", [0, 0]), ("image_size", [10**6, 10**6]), ("intensity_range", "0 to 1"), ("in_channels", None),
     ("intensity_range", [float("nan"), 1]), ("intensity_range", [0, float("inf")]), ("intensity_range", [1, 1]),
     ("intensity_range", [0, 10**400]), ("intensity_range", [False, True]), ("dropout", float("nan")),
     ("pictures", "no"), ("pictures", 1), ("pictures", None), ("colours", "red"), ("colours", [[0, 0, 0]]),
     ("colours", ["red"] * 4), ("colours", [[0, 0]] * 4), ("colours", [[0, 0, 256]] * 4), ("colours", [[0, 0, -1]] * 4),
     ("colours", [[0, 0, 0.5]] * 4), ("colours", [[0, 0, 0]] * 5)],
)  # fmt: skip
def test_a_card_whose_values_cannot_be_is_refused_by_name(model, name, value):
    model.with_suffix(".json").write_text(json.dumps(CARD | {name: value}))
    for read in (model_files.open_model, model_files.card):
        with pytest.raises(InputError, match=rf"its model\.json has {name} .*, not .*: restore it"):
            read(model)


@pytest.mark.parametrize(
    ("name", "value"),
    [("intensity_range", [-1.5, 255]), ("intensity_range", None), ("pictures", True), ("colours", None),
     ("colours", [[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]])],
)  # fmt: skip
def test_a_card_whose_values_can_be_is_read(model, name, value):
    model.with_suffix(".json").write_text(json.dumps(CARD | NETWORKS | {name: value}))
    assert model_files.card(model)[name] == value


def test_a_card_of_before_is_that_of_the_two_residual_generators_it_meant(model):
    model.with_suffix(".json").write_text(json.dumps(FORMER))
    found = model_files.open_model(model)
    dropout = {"dropout": 0.0}
    assert found.card == PAPER | {"classes": CLASSES} | CARD | {
        "network": generator(1, 4, **dropout),
        "image_generator": generator(4, 1, **dropout, activation="tanh"),
    }
    network, painter = (build(found.card[name]) for name in ("network", "image_generator"))
    network.load_state_dict(found.weights())
    painter.load_state_dict(found.image_generator())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network": {"class": "os.system", "arguments": {}}}, "'os.system' is not in the list"),
        ({"network": {"class": "torch.hub.load", "arguments": {"source": "local"}}}, "'torch.hub.load' is not in"),
        ({"network": None}, "is described as None"),
        ({"network": generator(1, 3)}, r"makes \[2, 3, 24, 32\] of \[2, 1, 24, 32\], expected \[2, 4, 24, 32\]"),
        ({"network": generator(3, 4)}, "does not take images of"),
        ({"network": generator(1, 4, filters=16384)}, "weights: give at most"),
        ({"network": generator(1, 4, blocks=257)}, "has 257 blocks: give at most 256"),
        ({"image_size": [22, 32]}, "takes multiples of 4"),
        ({"image_size": [16384, 16384]}, r"image_size is \[16384, 16384\]: give at most 16,777,216 pixels"),
        ({"image_generator": generator(4, 3)}, "expected"),
        ({"network": generator(1, 4, checkpoint="$print(1)")}, "would run or look up"),
    ],
)
def test_a_card_whose_network_is_none_of_the_list_or_does_not_fit_is_refused(model, change, words):
    model.with_suffix(".json").write_text(json.dumps(CARD | NETWORKS | change))
    for read in (model_files.open_model, model_files.card):
        with pytest.raises(InputError, match=words) as caught:
            read(model)
        assert "\n" not in str(caught.value)


def test_a_network_that_is_not_there_is_named(tmp_path, model):
    with pytest.raises(InputError, match=r"did you mean .*models/model.pt\?"):
        check_network(model.parent.parent)
    for refuse in (check_network, model_files.open_model):
        for path, said in (
            (tmp_path / "empty", "holds no models/model.pt"),
            (tmp_path / "no.pt", r"is not a file, .*: train first \(semicycle train\), or give --model"),
        ):
            (tmp_path / "empty").mkdir(exist_ok=True)
            with pytest.raises(InputError, match=said):
                refuse(path)
    check_network(model)


def test_an_unpacked_bundle_finds_itself_from_anywhere(tmp_path, monkeypatch):
    config = tmp_path / "b" / "configs" / "inference.json"
    config.parent.mkdir(parents=True)
    config.write_text('{"imports": ["$import acdc_semicycle.artifacts.model as m"], "run": ["$m.bundle_root()"]}')
    monkeypatch.chdir(tmp_path)
    for path, expected in ((config, str(tmp_path / "b")), (config.relative_to(tmp_path), "b")):
        flow = ConfigWorkflow(str(path), logging_file=False, workflow_type="infer")
        flow.initialize()
        assert flow.run() == [expected]
    assert model_files.bundle_root() == "."


@pytest.mark.parametrize("changed", ["model.pt", "model.json", "image_generator.pt", "quality.json"])
def test_every_file_of_a_zip_is_compared_with_its_checksum(tmp_path, model, changed):
    members = contents(model)
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in members.items()]
    members |= {f"models/{changed}": members[f"models/{changed}"] + b" ", "SHA256SUMS": "".join(lines).encode()}
    path = zipped(tmp_path / "b.zip", members, sums=False)
    with pytest.raises(InputError, match=f"models/{changed} is not what SHA256SUMS says"):
        model_files.open_model(path).image_generator()


@pytest.fixture
def folds(tmp_path) -> Path:
    """What a training of eleven folds leaves, two of which are there: the second and the last."""
    for number in (10, 1):
        path = tmp_path / "folds" / f"fold_{number}" / "models" / "model.pt"
        torch.manual_seed(number)
        weights.save(path, ResidualGenerator(1, 4, filters=2, blocks=1).state_dict())
        weights.save(path.with_name("image_generator.pt"), ResidualGenerator(4, 1, filters=2, blocks=1).state_dict())
        own = {"epoch": number, "validation": {"dice": number / 20}}
        path.with_suffix(".json").write_text(json.dumps(CARD | NETWORKS | own))
    (tmp_path / "folds" / "folds.json").write_text("{}")
    return tmp_path / "folds"


def test_the_networks_of_a_folder_of_folds_are_one(folds, caplog):
    found = model_files.open_model(folds)
    singles = [model_files.open_model(folds / f"fold_{number}") for number in (1, 10)]  # by number, not by name
    shared = PAPER | {"classes": CLASSES} | CARD | NETWORKS
    assert found.card == shared | {"image_generator": None, "members": 2}
    assert (found.path, found.split, found.quality, found.image_generator()) == (folds, None, None, None)
    assert model_files.build_image_generator(found, "cpu") is None and caplog.text == ""
    network = bundle.build_network(found.card["network"], found.card.get("members")).eval()
    weights.load_network(network, found.weights(), found.path)
    x, total = torch.randn(1, 1, 24, 32), torch.zeros(1, 4, 24, 32)
    with torch.no_grad():
        for single in singles:
            member = bundle.build_network(single.card["network"], single.card.get("members")).eval()
            weights.load_network(member, single.weights(), single.path)
            total += member(x).softmax(1)
        torch.testing.assert_close(network(x).exp(), total / 2)


def test_the_digest_of_folds_is_of_all_their_weights_in_their_order(folds):
    before = model_files.open_model(folds).sha256
    assert model_files.open_model(folds).sha256 == before and len(before) == 64
    first, last = (folds / f"fold_{number}" / "models" / "model.pt" for number in (1, 10))
    contents_before = first.read_bytes(), last.read_bytes()
    first.write_bytes(contents_before[1])
    same_twice = model_files.open_model(folds).sha256
    last.write_bytes(contents_before[0])
    assert len({before, same_twice, model_files.open_model(folds).sha256}) == 3


@pytest.mark.parametrize(("name", "value"), [("image_size", [48, 32]), ("dataset", "voc"), ("extra", 1)])
def test_folds_that_do_not_agree_are_refused_in_a_line(folds, name, value):
    (folds / "fold_10" / "models" / "model.json").write_text(json.dumps(CARD | NETWORKS | {name: value}))
    for read in (model_files.open_model, model_files.card):
        with pytest.raises(InputError, match=rf"fold_10/models/model\.pt has {name} .*: folds of one training agree"):
            read(folds)


def test_damaged_weights_of_a_fold_are_refused_by_their_path(folds):
    (folds / "fold_10" / "models" / "model.pt").write_bytes(b"PK damaged")
    with pytest.raises(InputError, match=r"fold_10/models/model\.pt is no readable checkpoint"):
        model_files.open_model(folds).weights()


def test_folds_whose_training_has_not_finished_are_used_with_a_warning(folds, caplog):
    (folds / "folds.json").unlink()
    assert model_files.open_model(folds).card["members"] == 2
    assert "its training has not finished: the folds so far, 2, are used" in caplog.text


def test_a_strangers_card_cannot_ask_for_members(model):
    model.with_suffix(".json").write_text(json.dumps(CARD | NETWORKS | {"members": 10**9}))
    assert "members" not in model_files.open_model(model).card


def test_the_only_network_of_finished_folds_is_all_of_them(folds, tmp_path):
    assert model_for("bundle", runs=tmp_path) == folds
    (folds / "folds.json").unlink()
    with pytest.raises(
        InputError, match=r"and [23] of [23] networks below .* fit: .*fold_1 .*: give one, such as --model"
    ):
        model_for("bundle", runs=tmp_path)


@pytest.mark.parametrize(
    ("keep", "epoch", "words"),
    [("last", 1, "; epoch 1 of 2: the training has not ended"), ("last", 2, ""), ("best", 1, "")],
)
def test_a_stopped_training_is_named_where_the_last_network_is_kept(keep, epoch, words):
    card = {"classes": ["background", "LV"], "dataset": "acdc", "keep": keep, "epoch": epoch, "epochs": 2, "steps": 400}
    run = Run(Path("runs/a/models/model.pt"), card)
    assert str(run) == f"runs/a (acdc: LV; 400 steps{words})"


def test_folds_of_which_one_is_a_trial_are_not_taken_unasked(folds, tmp_path):
    for card in folds.glob("fold_*/models/model.json"):
        card.write_text(json.dumps(json.loads(card.read_text()) | {"epochs": 8, "steps": 400}))
    assert model_for("bundle", runs=tmp_path) == folds and model_files.card(folds)["steps"] == 400
    card.write_text(json.dumps(json.loads(card.read_text()) | {"epochs": 1, "steps": 9}))
    with pytest.raises(InputError, match=r"0 of 1 network below .*/folds \(a trial of 9 steps; acdc"):
        model_for("bundle", runs=tmp_path)


def test_a_folder_of_folds_is_not_exported(folds, tmp_path):
    with pytest.raises(InputError, match=r"holds 2 folds: give one to export, .*fold_1/models/model\.pt$"):
        export.export(folds, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()
