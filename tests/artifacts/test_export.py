"""A network handed on: its exports are the network, and its zip is a bundle."""

import copy
import hashlib
import json
import os
import shutil
import sys
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, verify_net_in_out
from monai.data import load_net_with_metadata
from monai.transforms import Compose
from processes import run

from acdc_semicycle.artifacts import bundle_folder, conversion, export
from acdc_semicycle.artifacts import model as model_files
from acdc_semicycle.artifacts import weights as weight_files
from acdc_semicycle.methods.networks import ResidualGenerator
from acdc_semicycle.runtime.errors import InputError

ROOT = Path(__file__).parents[2]
CARD = {"filters": 2, "blocks": 1, "image_size": [24, 32], "dataset": "acdc", "validation": {"dice": 0.5}}
NAME = "acdc_semicycle_segmentation"


def train(folder: Path) -> Path:
    """What training leaves of a small network, with a quality; not trained."""
    torch.manual_seed(0)
    path = folder / "models" / "model.pt"
    network = ResidualGenerator(1, 4, filters=2, blocks=1)
    for parameter in network.parameters():
        parameter.data *= 20  # probabilities far from 1/4, as a trained network's are
    weight_files.save(path, network.state_dict())
    weight_files.save(path.with_name("image_generator.pt"), ResidualGenerator(4, 1, filters=2, blocks=1).state_dict())
    path.with_suffix(".json").write_text(json.dumps(CARD))
    path.with_name("quality.json").write_text('{"weights": {"cycle": 0.5}, "bias": 0.4}')
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return train(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory, phantom_dir) -> export.Exported:
    """Read only."""
    scans = sorted(phantom_dir.glob("**/patient001_frame??.nii.gz"))
    return export.export(model, tmp_path_factory.mktemp("out"), scans)


@pytest.fixture(scope="module")
def window_model(tmp_path_factory) -> Path:
    """The same network with a card of windows."""
    path = train(tmp_path_factory.mktemp("windows"))
    path.with_suffix(".json").write_text(json.dumps(CARD | {"image_size": [48, 64], "window": [24, 32]}))
    return path


@pytest.fixture
def unpacked(exported, tmp_path) -> Path:
    with zipfile.ZipFile(exported.files[-1]) as archive:
        for name in archive.namelist():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(archive.read(name))
    return tmp_path / NAME


def eager(model: Path) -> ResidualGenerator:
    network = ResidualGenerator(1, 4, filters=2, blocks=1)
    network.load_state_dict(torch.load(model, weights_only=True))
    return network.eval()


def segmented(scan: Path, folder: Path, model: Path) -> np.ndarray:
    """The label map that a network's own inference configuration makes: a bundle's, or the repository's of a model."""
    bundle = model if (model / "configs").is_dir() else ROOT / "bundles" / "semicycle"
    checkpoint = {} if bundle == model else {"checkpoint": str(model)}
    flow = ConfigWorkflow(
        str(bundle / "configs" / "inference.json"), workflow_type="infer", logging_file=False, input=str(scan),
        output_dir=str(folder), **checkpoint,
    )  # fmt: skip
    flow.initialize()
    flow.run()
    return np.asarray(nibabel.load(next(folder.rglob("*_seg.nii.gz"))).dataobj)


def corners(shape, affine) -> np.ndarray:
    """The corners of a grid in millimetres, whatever the order in which it is stored."""
    places = np.array([[*ijk, 1] for ijk in np.ndindex(2, 2, 2)]) * [*np.subtract(shape, 1), 1]
    return np.array(sorted((places @ affine.T)[:, :3].round(3).tolist()))


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 5])
def test_both_exports_are_the_network_for_any_number_of_slices(model, exported, batch):
    import onnxruntime

    assert [path.name for path in exported.files] == ["model.ts", "model.onnx", f"{NAME}.zip"]
    slices = torch.rand(batch, 1, 24, 32) * 2 - 1
    with torch.no_grad():
        expected = eager(model)(slices)
        assert torch.allclose(torch.jit.load(exported.files[0])(slices), expected, atol=1e-4)
    session = onnxruntime.InferenceSession(exported.files[1])
    made = session.run(["pred"], {"image": slices.numpy()})[0]
    np.testing.assert_allclose(made, expected, atol=1e-4)


@pytest.mark.slow
def test_the_exports_of_a_network_of_windows_take_windows_and_its_zip_looks_twice(window_model, tmp_path, phantom_dir):
    import onnx
    import onnxruntime

    scan = next(phantom_dir.glob("**/*_frame01.nii.gz"))
    torchscript, onnx_file, archive = export.export(window_model, tmp_path, [scan]).files
    windows = torch.randn(3, 1, 24, 32)
    with torch.no_grad():
        expected = eager(window_model)(windows)
        assert torch.allclose(torch.jit.load(torchscript)(windows), expected, atol=1e-4)
    made = onnxruntime.InferenceSession(onnx_file).run(["pred"], {"image": windows.numpy()})[0]
    np.testing.assert_allclose(made, expected, atol=1e-4)
    _, meta, _ = load_net_with_metadata(str(torchscript))
    about = meta["image_classes"]
    assert "the network takes windows of 24 x 32" in about and "whole slices of 48 x 64 by two looks" in about
    image = meta["network_data_format"]["inputs"]["image"]
    assert (image["spatial_shape"], image["is_patch_data"]) == ([24, 32], True)
    properties = {item.key: item.value for item in onnx.load(onnx_file).metadata_props}
    assert properties["image_classes"] == about
    shutil.unpack_archive(archive, tmp_path)
    label_maps = [
        segmented(scan, tmp_path / out, model) for out, model in (("a", window_model), ("b", tmp_path / NAME))
    ]
    np.testing.assert_array_equal(*label_maps)
    assert len(np.unique(label_maps[0])) > 1


@pytest.mark.slow
def test_it_says_what_was_compared(exported):
    for check, name in zip(exported.checks, ("model.ts", "model.onnx"), strict=True):
        assert (check.name, check.slices, check.labels) == (name, 12, 0)  # two frames of six slices
        assert check.largest < conversion.TOLERANCE / 10 and str(check).startswith(
            f"{name}: 12 slices, largest difference"
        )
    assert exported.checks[1].largest > 0, "two programs that add in another order: they are not the same one"


@pytest.mark.slow
def test_the_torchscript_holds_metadata_and_configuration_as_monai_reads_them(exported, unpacked):
    _, meta, extra = load_net_with_metadata(str(exported.files[0]), more_extra_files=("inference.json",))
    assert meta["network_data_format"]["inputs"]["image"]["spatial_shape"] == [24, 32]
    assert json.loads(extra["inference.json"]) == json.loads((unpacked / "configs" / "inference.json").read_text())


@pytest.mark.slow
def test_the_zip_names_the_checksum_of_every_other_member(unpacked):
    lines = [line.split("  ") for line in (unpacked / "SHA256SUMS").read_text().splitlines()]
    files = {path.relative_to(unpacked).as_posix(): path for path in unpacked.rglob("*") if path.is_file()}
    assert {name: hashlib.sha256(files[name].read_bytes()).hexdigest() for _, name in lines} == {n: s for s, n in lines}
    assert {name for _, name in lines} == files.keys() - {"SHA256SUMS"}
    models = {"model.pt", "model.json", "image_generator.pt", "quality.json", "model.ts", "model.onnx"}
    assert {f"models/{name}" for name in models} | {
        f"configs/{n}" for n in ("inference.json", "metadata.json", "train.json", "evaluate.json", "logging.conf")
    } | {
        "configs/multi_gpu_train.json",
        "LICENSE",
        "docs/README.md",
        "docs/data_license.txt",
    } == files.keys() - {"SHA256SUMS"}


@pytest.mark.slow
def test_the_zip_is_the_same_bytes_for_the_same_files(exported, unpacked, tmp_path):
    (unpacked / "SHA256SUMS").unlink()
    os.utime(unpacked / "LICENSE", (0, 1e9))
    assert bundle_folder.pack(unpacked, tmp_path / "again.zip").read_bytes() == exported.files[-1].read_bytes()


@pytest.mark.slow
def test_nothing_of_this_machine_is_in_what_is_handed_on(exported, model, unpacked):
    for path in (*exported.files, *unpacked.rglob("*.*")):
        content = path.read_bytes() if path.is_file() else b""
        for place in (ROOT, model.parent, Path(torch.__file__).parent, "semicycle-"):
            assert str(place).encode() not in content, (path, place)


@pytest.mark.slow
def test_the_zip_opens_as_the_network_it_was_made_of(exported, model):
    given, made = model_files.open_model(model), model_files.open_model(exported.files[-1])
    assert (made.card, made.quality, made.sha256) == (given.card, given.quality, given.sha256)
    for a, b in ((given.weights(), made.weights()), (given.image_generator(), made.image_generator())):
        assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_a_zip_can_be_exported_again_and_the_command_line_says_what_came_out(exported, tmp_path, phantom_dir):
    said = export.main(exported.files[-1], tmp_path, [next(phantom_dir.glob("**/*_frame01.nii.gz"))]).splitlines()
    assert [line.split(":")[0] for line in said[:2]] == ["model.ts", "model.onnx"]
    assert said[2:] == [str(tmp_path / path.name) for path in exported.files]
    assert model_files.open_model(said[-1]).sha256 == model_files.open_model(exported.files[-1]).sha256


@pytest.mark.slow
def test_the_unpacked_bundle_runs_from_anywhere_and_segments_as_the_network_does(
    unpacked, model, tmp_path, phantom_dir
):
    scan = next(phantom_dir.glob("**/*_frame01.nii.gz"))
    (tmp_path / "elsewhere").mkdir()
    given = ["--config_file", unpacked / "configs" / "inference.json", "--input", scan, "--output_dir", tmp_path / "a"]
    ran = run("-m", "monai.bundle", "run", *given, cwd=tmp_path / "elsewhere")
    assert str(unpacked / "models" / "model.pt") in ran.stdout + ran.stderr
    flow = ConfigWorkflow(
        str(ROOT / "bundles" / "semicycle" / "configs" / "inference.json"),
        workflow_type="infer",
        logging_file=False,
        input=str(scan),
        output_dir=str(tmp_path / "b"),
        checkpoint=str(model),
    )
    flow.initialize()
    flow.run()
    maps = [nibabel.load(next((tmp_path / out).rglob("*_seg.nii.gz"))) for out in "ab"]
    np.testing.assert_array_equal(*(np.asarray(image.dataobj) for image in maps))
    assert len(np.unique(maps[0].dataobj)) > 1


@pytest.mark.slow
def test_monai_finds_what_it_asks_of_the_unpacked_bundle(unpacked, tmp_path, phantom_dir, monkeypatch):
    config = unpacked / "configs" / "inference.json"
    flow = ConfigWorkflow(
        str(config), workflow_type="infer", logging_file=False, input=str(phantom_dir), output_dir=str(tmp_path / "out")
    )
    flow.initialize()
    assert not flow.check_properties()
    monkeypatch.chdir(unpacked)  # where MONAI's own tools expect to be
    verify_net_in_out(
        net_id="network_def", meta_file="configs/metadata.json", config_file="configs/inference.json", device="cpu"
    )


@pytest.mark.slow
def test_the_unpacked_bundle_keeps_the_rules_of_monai_label(unpacked, phantom_dir):
    """What its monaibundle app (0.8.5, tasks/infer/bundle.py) does with a bundle, step by step."""
    metadata = json.loads((unpacked / "configs" / "metadata.json").read_text())
    (key_image, image), (key_pred, pred) = (
        next(iter(metadata["network_data_format"][way].items())) for way in ("inputs", "outputs")
    )
    assert (key_image, key_pred, image["spatial_shape"]) == ("image", "pred", [24, 32])
    assert {name: int(n) for n, name in pred["channel_def"].items()} == {"background": 0, "RV": 1, "MYO": 2, "LV": 3}
    assert isinstance(metadata["description"], str) and metadata["version"]
    weights = sorted((path.name for path in (unpacked / "models").glob("*.pt")), key=len)
    assert weights[0] == "model.pt", "the one it takes where the user chooses none"

    parser = ConfigParser()
    parser.read_config(unpacked / "configs" / "inference.json")
    parser.config.update({"bundle_root": str(unpacked), "use_click": False, "device": "cpu"})
    network = parser.get_parsed_content("network_def", instantiate=True)
    network.load_state_dict(torch.load(unpacked / "models" / "model.pt"))
    scan = next(phantom_dir.glob("**/*_frame01.nii.gz"))
    data = {"image": str(scan), "model": "any", "device": "cpu"}
    for step in parser.get_parsed_content("preprocessing", instantiate=True).transforms:
        data = step(data)
    with torch.no_grad():
        outputs = parser.get_parsed_content("inferer", instantiate=True)(data["image"][None], network.eval())
    data["pred"] = outputs[0]
    post = parser.get_parsed_content("postprocessing", instantiate=True)
    assert isinstance(post, Compose)
    for step in post.transforms:  # without an input given to the bundle, and so without a place to write to
        data = step(data)
    given = nibabel.load(scan)
    np.testing.assert_allclose(
        corners(data["pred"].shape[1:], data["pred"].affine.numpy()), corners(given.shape, given.affine), atol=1e-3
    )


@pytest.mark.slow
def test_an_export_that_differs_is_refused_and_leaves_nothing(model, tmp_path, monkeypatch, phantom_dir):
    monkeypatch.setattr(conversion, "TOLERANCE", -1.0)
    with pytest.raises(InputError, match=r"model\.ts: 12 slices, largest .*: more than -1, so nothing is written"):
        export.export(model, tmp_path / "out", sorted(phantom_dir.glob("**/patient001_frame??.nii.gz")))
    assert not (tmp_path / "out").exists()


def test_an_image_generator_under_its_old_name_is_handed_on_under_the_new_one(tmp_path):
    path = train(tmp_path)
    content = path.with_name("image_generator.pt").read_bytes()
    path.with_name("image_generator.pt").rename(path.with_name("painter.pt"))
    bundle_folder.lay_out(tmp_path / "bundle", model_files.open_model(path))
    assert (tmp_path / "bundle" / "models" / "image_generator.pt").read_bytes() == content
    assert not (tmp_path / "bundle" / "models" / "painter.pt").exists()


@pytest.mark.parametrize("name", ["model.ts", "model.onnx", "acdc_semicycle_segmentation.zip"])
def test_others_files_are_not_written_over(model, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"{name} is there and is not of this program"):
        export.export(model, tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_exports_that_cannot_all_be_written_leave_the_old_ones(tmp_path, monkeypatch):
    new, out, copy_file = tmp_path / "new", tmp_path / "out", shutil.copyfile
    for folder, text in ((new, "new"), (out, "old")):
        folder.mkdir()
        for name in ("a.ts", "b.onnx"):
            (folder / name).write_text(text)

    def full_disk(source, target):
        copy_file(source, target)
        if source.name == "b.onnx":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full_disk)
    with pytest.raises(InputError, match=r"b\.onnx cannot be written \(No space left on device\)"):
        export._move([new / "a.ts", new / "b.onnx"], out)
    assert {path.name: path.read_text() for path in out.iterdir()} == {"a.ts": "old", "b.onnx": "old"}
    with pytest.raises(InputError, match=r"MiB free, \d+ are needed to export: make room, or set TMPDIR"):
        export._check_room(str(tmp_path), 1 << 60)


def test_a_difference_is_found_whatever_it_is(model):
    network, slices = eager(model), [torch.rand(6, 1, 24, 32) * 2 - 1, torch.rand(1, 1, 24, 32)]
    check = conversion.compare("same", network, copy.deepcopy(network), slices)
    assert (check.slices, check.largest, check.labels) == (7, 0, 0)
    padded, shifted = copy.deepcopy(network), copy.deepcopy(network)
    padded.layers[0] = torch.nn.ReplicationPad2d(3)
    shifted.layers[-1].bias.data[0] += 0.1
    for name, other in (
        ("padding", padded),
        ("shift", shifted),
        ("half", copy.deepcopy(network).bfloat16()),
        ("NaN", lambda batch: network(batch) * torch.nan),
    ):
        wrong = (lambda batch, other=other: other(batch.bfloat16()).float()) if name == "half" else other
        with pytest.raises(InputError, match=f"^{name}: 7 slices, .*nothing is written"):
            conversion.compare(name, network, wrong, slices)


def test_one_label_in_a_hundred_is_counted():
    one_hot = torch.eye(4)[torch.arange(100).reshape(1, 10, 10) % 4].movedim(-1, 1) * 1e-4
    other = one_hot.clone()
    other[0, :, 0, 0] = other[0, :, 0, 1]
    check = conversion.compare("x", lambda _: one_hot, lambda _: other, [torch.zeros(1, 1, 10, 10)])
    assert check.labels == 0.01 and 0 < check.largest < conversion.TOLERANCE


def test_the_metadata_are_of_this_network_and_no_other(tmp_path, model):
    card = {
        "filters": 2,
        "blocks": 1,
        "image_size": [64, 96],
        "in_channels": 3,
        "pictures": True,
        "dataset": "my cells",
    }
    model = train(tmp_path)
    model.with_suffix(".json").write_text(
        json.dumps(card | {"classes": ["background", "cell"], "intensity_range": [0, 255]})
    )
    made = bundle_folder.metadata(model_files.open_model(model))
    assert made["network_data_format"]["outputs"]["pred"]["channel_def"] == {"0": "background", "1": "cell"}
    image = made["network_data_format"]["inputs"]["image"]
    assert (image["num_channels"], image["spatial_shape"]) == (3, [64, 96]) and list(image["channel_def"]) == list(
        "012"
    )
    text = json.dumps(made | {"references": [], "changelog": {}})
    assert not [word for word in ("ventric", "MRI", "nifti", "ACDC", '"MR"') if word in text]
    assert bundle_folder.name_of(model_files.open_model(model).card) == "my_cells_semicycle_segmentation"


def test_the_metadata_have_every_field_of_their_schema(model):
    made = bundle_folder.metadata(model_files.open_model(model))
    known = json.loads((ROOT / "bundles" / "semicycle" / "configs" / "metadata.json").read_text())
    assert made.keys() == known.keys() and made["eval_metrics"] == {"validation_dice": 0.5}
    for way, tensors in known["network_data_format"].items():
        for name, tensor in tensors.items():
            assert made["network_data_format"][way][name].keys() == tensor.keys()


def test_the_slices_of_a_network_of_windows_are_as_its_first_look_sees_them(window_model, tmp_path):
    staged, card = tmp_path / NAME, model_files.open_model(window_model).card
    bundle_folder.lay_out(staged, model_files.open_model(window_model))
    for batch in export._slices(export._parser(staged), card, [], tmp_path / "phantom"):
        assert tuple(batch.shape) == (8, 1, 24, 32)
        torch.testing.assert_close(batch.mean((1, 2, 3)), torch.zeros(8), atol=1e-4, rtol=0)
        torch.testing.assert_close(batch.std((1, 2, 3), correction=0), torch.ones(8), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("image_generator", "words"),
    [(True, "A ResidualGenerator, trained by the objective of Mondal et al. (2019) on acdc to segment RV, MYO, LV"),
     (False, "A ResidualGenerator, trained on acdc to segment RV, MYO, LV")],
)  # fmt: skip
def test_the_metadata_name_the_network_and_the_papers_objective_only_where_it_was_used(
    tmp_path, image_generator, words
):
    model = train(tmp_path)
    card = model_files.open_model(model).card
    model.with_suffix(".json").write_text(
        json.dumps(card | {"image_generator": card["image_generator"] if image_generator else None})
    )
    assert bundle_folder.metadata(model_files.open_model(model))["description"].startswith(words)


@pytest.mark.slow
def test_the_documents_speak_of_this_network(unpacked, model):
    text = (unpacked / "docs" / "README.md").read_text()
    assert text.startswith("# ") and text.index("## This model") < text.index("## Model Description")
    assert "shipped weights" not in text and hashlib.sha256(model.read_bytes()).hexdigest() in text
    assert "- model.onnx: 12 slices, largest difference" in text


def test_packages_that_are_missing_are_named_with_the_command(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"^onnxscript not installed.*pip install onnx onnxscript onnxruntime"):
        export.export(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_scan_that_cannot_be_read_or_is_not_given_is_said_before_any_work(model, tmp_path):
    for content in (None, b"no scan"):
        scan = tmp_path / "scan.nii.gz"
        if content:
            scan.write_bytes(content)
        with pytest.raises(InputError, match=r"scan\.nii\.gz"):
            export.export(model, tmp_path / "out", [scan])
    pictures = train(tmp_path)
    pictures.with_suffix(".json").write_text(json.dumps(CARD | {"pictures": True, "in_channels": 3}))
    with pytest.raises(InputError, match="give images of its data set"):
        export.export(pictures, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_scans_the_phantoms_slices_are_taken(model, tmp_path):
    staged = tmp_path / NAME
    bundle_folder.lay_out(staged, model_files.open_model(model))
    parser = export._parser(staged)
    slices = export._slices(parser, model_files.open_model(model).card, [], tmp_path / "phantom")
    assert [tuple(batch.shape) for batch in slices] == [(8, 1, 24, 32)] * 2
    assert all(-1 <= batch.min() < -0.5 < 0.5 < batch.max() <= 1 for batch in slices)


@pytest.mark.parametrize(
    "planted",
    [
        {"dataset": "$__import__('pathlib').Path('PLANTED').touch() #"},
        {"validation": {"dice": "$__import__('pathlib').Path('PLANTED').touch()"}},
        {"validation": {"dice": {"_target_": "pathlib.Path.touch", "self": "$__import__('pathlib').Path('PLANTED')"}}},
        {"image_size": [24, "$__import__('pathlib').Path('PLANTED').touch() or 32"]},
    ],
)
def test_no_code_in_a_networks_card_is_run(tmp_path, monkeypatch, planted):
    monkeypatch.chdir(tmp_path)
    model = train(tmp_path)
    model.with_suffix(".json").write_text(json.dumps(CARD | planted))
    with pytest.raises(InputError, match=r"model\.json cannot be read .*MONAI would run"):
        export.export(model, tmp_path / "out")
    assert not (tmp_path / "PLANTED").exists()
