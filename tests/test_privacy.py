"""What headers say of a patient does not get into anything that is written. Names of files do: they are case names."""

import base64
import gzip
import io
import json
import re
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image, PngImagePlugin

from acdc_semicycle import cli
from acdc_semicycle.artifacts import weights
from acdc_semicycle.methods.networks import ResidualGenerator
from tests.config.test_bundle import train
from tests.imageio.dicom_files import stack

WORD = "PLANTEDNAME"
ITK = {"nrrd": ["comment", "PatientName", "content"], "mha": ["Comment", "PatientName"], "mhd": ["Comment", "Name"]}
TAGS = ["g0010_0010", "g0010_0020", "g0008_0080", "g0008_103e", "g0010_4000", "g0020_4000", "g0018_1030", "g0009_0010"]


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.delenv("ACDC_DIR", raising=False)


def plant(source: Path, target: Path) -> Path:
    """A NIfTI file with the word wherever its header has room for words."""
    image = nibabel.load(source)
    image.header["descrip"], image.header["aux_file"], image.header["intent_name"] = (WORD.encode(),) * 3
    image.header["db_name"] = WORD.encode()
    for code in (2, 4, 6):  # DICOM, XML and plain comments
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(code, f"x {WORD} y".encode()))
    target.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.asanyarray(image.dataobj), image.affine, image.header), target)
    assert WORD.encode() in unpacked(target.read_bytes())
    return target


def unpacked(content: bytes) -> bytes:
    """A file's bytes, and those that are packed in them."""
    if content[:2] == b"\x1f\x8b":
        return unpacked(gzip.decompress(content))
    parts = [content]
    if content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts += [unpacked(archive.read(name)) for name in archive.namelist()]
    if content[:4] == b"\x89PNG":
        picture = Image.open(io.BytesIO(content))
        picture.load()
        parts.append(repr(picture.info).encode() + picture.tobytes())
    parts += [unpacked(base64.b64decode(packed)) for packed in re.findall(rb"base64,([\w+/=]+)", content)]
    return b"\n".join(parts)


def leaks(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and any(
            WORD.encode(code) in unpacked(path.read_bytes()) for code in ("latin-1", "utf-16-le")
        ):
            yield path.relative_to(folder).as_posix()


def run(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["semicycle", *map(str, arguments)])
    assert cli.main() == 0


def scans(folder: Path, source: Path) -> Path:
    """One scan in every container, with the word in every header."""
    plant(source, folder / "nifti.nii.gz")
    image = sitk.ReadImage(str(source), sitk.sitkInt16)
    for kind, keys in ITK.items():
        for key in keys:
            image.SetMetaData(key, WORD)
        sitk.WriteImage(image, str(folder / f"{kind}.{kind}"))
        for key in keys:
            image.EraseMetaData(key)
    for path in (folder / "mha.mha", folder / "mhd.mhd"):  # what ITK leaves out
        head, rest = path.read_bytes().split(b"\n", 1)
        path.write_bytes(head + f"\nComment = {WORD}\nPatientName = {WORD}\n".encode() + rest)
    stack(folder / "dicom", **dict.fromkeys(TAGS, WORD))
    return folder


def test_a_word_is_found_wherever_it_is_packed(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(WORD.encode()))
    np.savez_compressed(tmp_path / "b.npz", a=np.frombuffer(WORD.encode(), np.uint8))
    note = PngImagePlugin.PngInfo()
    note.add_text("Patient", WORD, zip=True)
    Image.new("L", (3, 3)).save(tmp_path / "c.png", pnginfo=note)
    packed = base64.b64encode((tmp_path / "c.png").read_bytes()).decode()
    (tmp_path / "d.html").write_text(f'<img src="data:image/png;base64,{packed}">')
    (tmp_path / "e.txt").write_text("nothing")
    assert list(leaks(tmp_path)) == ["a.gz", "b.npz", "c.png", "d.html"]


@pytest.mark.slow
def test_no_header_of_a_scan_gets_into_what_is_written(tmp_path, phantom_dir, monkeypatch, capfd, caplog):
    shutil.copytree(phantom_dir, tmp_path / "data")
    for path in (tmp_path / "data").rglob("*.nii.gz"):
        plant(path, path)
    out, pred = tmp_path / "out", tmp_path / "pred"
    train(out, dataset_dir=str(tmp_path / "data"))
    source = next((tmp_path / "data").rglob("*_frame01.nii.gz"))
    given = scans(tmp_path / "scans", source)
    run(monkeypatch, "predict", given, "-o", pred, "--model", out, "--probabilities")
    run(monkeypatch, "predict", tmp_path / "data", "-o", tmp_path / "all", "--model", out)
    run(monkeypatch, "evaluate", "--pred", tmp_path / "all", "--truth", tmp_path / "data")
    for folder in (pred, tmp_path / "all"):
        run(monkeypatch, "report", folder)
    assert len(list(pred.glob("*_seg.*"))) == 5, sorted(pred.iterdir())
    wanted = {".html", ".npy", ".pt", ".csv", ".png", ".npz", ".gz", ".nrrd", ".mha", ".json"}
    assert wanted <= {path.suffix for folder in (out, pred, tmp_path / "all") for path in folder.rglob("*")}
    assert [*leaks(out), *leaks(pred), *leaks(tmp_path / "all")] == []
    said = capfd.readouterr()
    assert WORD not in said.out + said.err + caplog.text


@pytest.mark.slow
def test_no_note_in_a_picture_gets_into_what_is_written(tmp_path, monkeypatch):
    note, exif = PngImagePlugin.PngInfo(), Image.Exif()
    note.add_text("Patient", WORD)
    note.add_itxt("XML:com.adobe.xmp", WORD)
    exif[0x010E] = WORD
    pixels = Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32), np.uint8))
    (tmp_path / "in").mkdir()
    pixels.save(tmp_path / "in" / "a.png", pnginfo=note, exif=exif)
    pixels.save(tmp_path / "in" / "b.jpg", comment=WORD, exif=exif)
    pixels.save(tmp_path / "in" / "c.tif", tiffinfo={270: WORD, 315: WORD})
    assert all(WORD.encode() in path.read_bytes() for path in (tmp_path / "in").iterdir())
    model = tmp_path / "models" / "model.pt"
    weights.save(model, ResidualGenerator(1, 2, filters=2, blocks=1).state_dict())
    card = {"filters": 2, "blocks": 1, "image_size": [24, 32], "pictures": True, "classes": ["background", "cell"]}
    model.with_suffix(".json").write_text(json.dumps(card | {"intensity_range": [0, 255]}))
    run(monkeypatch, "predict", tmp_path / "in", "-o", tmp_path / "out", "--model", model)
    run(monkeypatch, "report", tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*_seg.png"))) == 3
    assert list(leaks(tmp_path / "out")) == []
