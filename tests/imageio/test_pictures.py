"""Pictures are read with the very values they hold, or refused in a line; masks by their numbers or their colours."""

import struct
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from processes import run

from acdc_semicycle.data.transforms import LoadCheckedd
from acdc_semicycle.datasets import voc
from acdc_semicycle.imageio.pictures import read_picture
from acdc_semicycle.runtime.errors import InputError
from tests.imageio.picture_files import (
    COLUMNS,
    PALETTE,
    ROWS,
    VOID,
    image,
    numbers,
    refused,
    stored,
    voc_mask,
    write,
)


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.bmp", "a.tif", "a.tiff"])
def test_a_picture_gives_its_very_values_and_rows_are_rows(tmp_path, name):
    pixels = numbers((ROWS, COLUMNS, 3))
    path = write(tmp_path / name, pixels)
    loaded = image(path)
    assert loaded.shape == (3, ROWS, COLUMNS, 1) and loaded.dtype == torch.float32
    np.testing.assert_array_equal(loaded[..., 0].permute(1, 2, 0), pixels)
    assert torch.equal(loaded.affine, torch.eye(4, dtype=loaded.affine.dtype))
    assert loaded.meta["filename_or_obj"] == str(path)


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.webp"])
def test_a_compressed_picture_is_what_pillow_makes_of_it(tmp_path, name):
    path = write(tmp_path / name, numbers((ROWS, COLUMNS, 3)))
    with Image.open(path) as picture:
        np.testing.assert_array_equal(image(path)[..., 0].permute(1, 2, 0), np.asarray(picture))


def test_a_grey_picture_is_one_channel(tmp_path):
    pixels = numbers()
    loaded = image(write(tmp_path / "a.png", pixels), channels=1)
    assert loaded.shape == (1, ROWS, COLUMNS, 1)
    np.testing.assert_array_equal(loaded[0, ..., 0], pixels)


def test_a_coloured_picture_turns_grey_by_its_luma(tmp_path):
    pixels = np.zeros((ROWS, COLUMNS, 3), np.uint8)
    pixels[0, 0], pixels[0, 1], pixels[0, 2] = (255, 0, 0), (0, 255, 0), (200, 100, 50)
    grey = image(write(tmp_path / "a.png", pixels), channels=1)[0, 0, :4, 0]
    assert grey.tolist() == [76, 150, 124, 0]  # 0.299 R + 0.587 G + 0.114 B


def test_an_alpha_channel_is_left_out(tmp_path):
    pixels = numbers((ROWS, COLUMNS, 4))
    np.testing.assert_array_equal(image(write(tmp_path / "a.png", pixels))[..., 0].permute(1, 2, 0), pixels[..., :3])


def test_an_image_with_a_palette_has_the_colours_it_shows(tmp_path):
    pixels, palette = numbers(high=21), numbers((21, 3), seed=1)
    loaded = image(write(tmp_path / "a.png", pixels, palette))
    np.testing.assert_array_equal(loaded[..., 0].permute(1, 2, 0), palette[pixels])


@pytest.mark.parametrize("extra", [(), (2,)], ids=["grey", "grey with alpha"])
def test_a_grey_picture_has_three_equal_channels_for_a_network_of_three(tmp_path, extra):
    pixels = numbers((ROWS, COLUMNS, *extra))
    loaded = image(write(tmp_path / "a.png", pixels))
    grey = pixels[..., 0] if extra else pixels
    np.testing.assert_array_equal(loaded[..., 0], np.stack([grey] * 3))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_are_kept(tmp_path, name):
    pixels = (numbers().astype(np.uint16) << 8) + numbers(seed=1)
    loaded = image(write(tmp_path / name, pixels), channels=1)
    assert loaded.max() > 255
    np.testing.assert_array_equal(loaded[0, ..., 0], pixels)


def test_fractions_are_kept(tmp_path):
    pixels = numbers().astype(np.float32) / 7 - 3
    np.testing.assert_array_equal(image(write(tmp_path / "a.tif", pixels), channels=1)[0, ..., 0], pixels)


@pytest.mark.parametrize(("note", "quarters"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_a_picture_is_turned_as_its_exif_note_says(tmp_path, note, quarters):
    pixels = numbers((ROWS, COLUMNS, 3))
    exif = Image.Exif()
    exif[0x0112] = note
    path = write(tmp_path / "a.png", pixels, exif=exif)
    upright = np.rot90(pixels, quarters)
    np.testing.assert_array_equal(image(path)[..., 0].permute(1, 2, 0), upright)
    assert read_picture(path).size == upright.shape[1::-1]


@pytest.mark.parametrize("end", ["png", "jpg", "bmp", "tif", "webp"])
@pytest.mark.parametrize("part", [0.0, 0.02, 0.3, 0.7, 0.95])
@pytest.mark.parametrize("key", ["image", "label"])
def test_a_truncated_picture_is_refused(tmp_path, end, part, key):
    path = write(tmp_path / f"a.{end}", numbers((ROWS, COLUMNS, 3)))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    refused(lambda: LoadCheckedd(key, channels=3)({key: str(path)}), str(path), "copy it again")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
@pytest.mark.parametrize("content", [b"", b"patient,age\n1,62\n" * 200])
def test_a_file_that_is_no_picture_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refused(lambda: image(tmp_path / name), str(tmp_path / name), "not a picture", "copy it again")


def test_a_missing_picture_and_a_folder_are_refused(tmp_path):
    refused(lambda: image(tmp_path / "a.png"), f"{tmp_path / 'a.png'} is not a file", "give a picture", ".jpg")
    (tmp_path / "b.png").mkdir()
    refused(lambda: image(tmp_path / "b.png"), f"{tmp_path / 'b.png'} is not a file")


def test_a_scan_for_a_network_of_three_channels_is_refused(tmp_path):
    path = tmp_path / "a.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 3), np.int16), np.eye(4)), path)
    refused(lambda: image(path), str(path), "one channel", "channels is 3")
    assert image(path, channels=1).shape == (1, 4, 5, 3)


def test_a_mask_with_the_palette_of_voc_gives_its_classes(tmp_path):
    mask = voc_mask()
    np.testing.assert_array_equal(stored(write(tmp_path / "a.png", mask, PALETTE)), mask)


@pytest.mark.parametrize("seed", range(3))
def test_a_mask_whose_palette_was_renumbered_gives_the_same_classes(tmp_path, seed):
    mask, order = voc_mask(), np.random.default_rng(seed).permutation(256)  # order[old] is the new number
    palette = np.empty_like(PALETTE)
    palette[order] = PALETTE
    np.testing.assert_array_equal(stored(write(tmp_path / "a.png", order[mask], palette)), mask)


def test_a_mask_that_pillow_saved_with_a_palette_of_its_own_gives_the_same_classes(tmp_path):
    mask = voc_mask()
    Image.fromarray(PALETTE[mask]).quantize(22).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as again:
        assert again.mode == "P" and (np.asarray(again) != mask).any()
    np.testing.assert_array_equal(stored(tmp_path / "a.png"), mask)


@pytest.mark.parametrize("colours", [None, voc.COLOURS])
@pytest.mark.parametrize(
    "palette", [np.arange(256).repeat(3).reshape(-1, 3), numbers((256, 3), seed=5)], ids=["grey ramp", "random"]
)
def test_a_mask_with_a_palette_of_other_colours_is_read_by_its_numbers(tmp_path, palette, colours):
    mask = voc_mask()
    np.testing.assert_array_equal(stored(write(tmp_path / "a.png", mask, palette), colours), mask)


def test_one_colour_that_is_no_classs_makes_a_palette_read_by_its_numbers(tmp_path):
    palette = PALETTE.copy()
    palette[:21] = palette[20::-1]
    palette[9] = (1, 2, 3)
    mask = voc_mask()
    assert 9 in mask
    np.testing.assert_array_equal(stored(write(tmp_path / "a.png", mask, palette)), mask)


def test_a_colour_that_no_pixel_has_does_not_matter(tmp_path):
    palette, mask = PALETTE.copy(), voc_mask()
    palette[:21] = palette[20::-1]
    palette[9], mask[mask == 9] = (1, 2, 3), 8
    expected = np.where(mask == 255, 255, 20 - mask)
    np.testing.assert_array_equal(stored(write(tmp_path / "a.png", mask, palette)), expected)


def test_numbers_beyond_a_short_palette_are_read_as_they_are(tmp_path):
    mask = numbers(high=3)
    mask[0, 0], mask[0, 1] = 255, 17
    path = write(tmp_path / "a.png", mask, PALETTE)
    raw, chunk = path.read_bytes(), b"PLTE" + PALETTE[:3].tobytes()
    at = raw.index(b"PLTE") - 4
    short = (9).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4)  # Pillow itself writes no such file
    path.write_bytes(raw[:at] + short + raw[at + 12 + PALETTE.size :])
    np.testing.assert_array_equal(stored(path), mask)


@pytest.mark.parametrize("alpha", [False, True])
def test_a_mask_of_colours_gives_the_classes_that_have_them(tmp_path, alpha):
    mask = voc_mask()
    pixels = PALETTE[mask]
    pixels = np.dstack([pixels, numbers(seed=2)]) if alpha else pixels
    np.testing.assert_array_equal(stored(write(tmp_path / "a.png", pixels)), mask)


def test_a_colour_that_is_no_classs_is_refused_by_its_numbers(tmp_path):
    pixels = PALETTE[voc_mask()]
    pixels[5, 7] = (1, 2, 3)
    path = write(tmp_path / "a.png", pixels)
    refused(lambda: stored(path), str(path), "colour (1, 2, 3)", "give class indices")


def test_a_mask_of_colours_is_refused_where_no_class_has_one(tmp_path):
    path = write(tmp_path / "a.png", PALETTE[np.full((ROWS, COLUMNS), 15)])
    refused(lambda: stored(path, None), str(path), "colour (192, 128, 128)", "colours of the classes")


@pytest.mark.parametrize("values", [numbers(), numbers(high=2).astype(bool), numbers().astype(np.uint16) * 200])
def test_a_grey_mask_gives_its_values(tmp_path, values):
    np.testing.assert_array_equal(stored(write(tmp_path / "a.png", values)), values)


def test_a_mask_is_turned_as_its_exif_note_says(tmp_path):
    mask, exif = voc_mask(), Image.Exif()
    exif[0x0112] = 6
    path = write(tmp_path / "a.png", mask, PALETTE, exif=exif)
    label = LoadCheckedd("label", colours=voc.COLOURS)({"label": str(path)})["label"]
    np.testing.assert_array_equal(label[0, ..., 0], np.rot90(mask, -1))


def test_sixteen_bits_are_kept_for_a_network_of_three_channels(tmp_path):
    pixels = numbers().astype(np.uint16) * 200
    loaded = image(write(tmp_path / "a.png", pixels), channels=3)
    np.testing.assert_array_equal(loaded[..., 0], np.stack([pixels] * 3))


def test_a_picture_with_pixels_that_are_no_numbers_is_refused(tmp_path):
    pixels = np.ones((ROWS, COLUMNS), np.float32)
    pixels[3, 4] = np.nan
    path = write(tmp_path / "a.tif", pixels)
    refused(lambda: image(path, channels=1), str(path), "NaN or infinite")


def test_a_palette_with_one_colour_twice_is_read_by_its_numbers(tmp_path):
    mask = numbers(high=3)
    black = write(tmp_path / "a.png", mask, np.zeros((3, 3)))
    np.testing.assert_array_equal(stored(black), mask)


def test_the_colour_of_a_class_wins_over_that_of_nobody_annotated(tmp_path):
    mask = numbers(high=2)
    colours = [(0, 0, 0), VOID]
    np.testing.assert_array_equal(stored(write(tmp_path / "a.png", np.array(colours, np.uint8)[mask]), colours), mask)


def test_several_pages_are_not_one_picture(tmp_path):
    pages = [Image.fromarray(numbers((ROWS, COLUMNS))) for _ in range(2)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    refused(lambda: read_picture(tmp_path / "a.tif"), "has 2 pages")


def test_a_mask_of_two_bands_is_refused_for_what_it_is(tmp_path):
    Image.fromarray(numbers((ROWS, COLUMNS))).convert("LA").save(tmp_path / "a.png")
    refused(lambda: stored(tmp_path / "a.png"), "is a LA picture")


def bomb(path: Path, side: int) -> Path:
    """A black PNG of side x side pixels in some kilobytes."""
    packer = zlib.compressobj(9)
    row = bytes(1 + -(-side // 8))
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return path


READ = """
import resource, sys
from pathlib import Path
from acdc_semicycle.data.transforms import intensities, read_picture
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print(intensities(Path(sys.argv[1]), read_picture(Path(sys.argv[1])), 1).shape)
except ValueError as error:
    print(type(error).__name__, error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def read_alone(path: Path, **environment: str) -> tuple[str, int]:
    """What reading a picture says in a process of its own, and how many MB it took."""
    done = run("-c", READ, path, **environment)
    assert not done.stderr
    said, taken = done.stdout.splitlines()
    return said, int(taken)


@pytest.mark.slow
@pytest.mark.parametrize("side", [13000, 20000])
def test_a_picture_that_would_fill_the_memory_is_refused_before_it_does(tmp_path, side):
    path = bomb(tmp_path / "bomb.png", side)
    assert path.stat().st_size < 60_000
    said, taken = read_alone(path)
    assert said.startswith("InputError") and "bomb.png has more than 134217728 pixels" in said
    assert "SEMICYCLE_MAX_VOXELS" in said and taken < 100


@pytest.mark.slow
def test_large_pictures_pass_and_whoever_trusts_one_can_raise_the_limit(tmp_path):
    assert read_alone(bomb(tmp_path / "a.png", 10000))[0] == "(10000, 10000, 1)"
    assert read_alone(bomb(tmp_path / "b.png", 13000), SEMICYCLE_MAX_VOXELS="200000000")[0] == "(13000, 13000, 1)"
    assert "'many'" in read_alone(tmp_path / "a.png", SEMICYCLE_MAX_VOXELS="many")[0]
    assert "more than 100 pixels" in read_alone(tmp_path / "a.png", SEMICYCLE_MAX_VOXELS="100")[0]


def test_a_file_that_pillow_would_hand_to_another_program_is_no_picture(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")
    with pytest.raises(InputError, match=r"a\.png is truncated, damaged or not a picture"):
        read_picture(path)


@pytest.mark.parametrize(
    ("name", "options"), [("a.jpg", {}), ("a.png", {"format": "jpeg"}), ("a.tif", {"compression": "jpeg"})]
)
def test_a_mask_whose_compression_changes_numbers_is_refused_with_advice_that_helps(tmp_path, name, options):
    path = write(tmp_path / name, np.zeros((ROWS, COLUMNS), np.uint8), **options)
    refused(lambda: LoadCheckedd("label")({"label": str(path)}), str(path), "is a JPEG", "from its source as PNG")
    assert image(path, channels=1).shape == (1, ROWS, COLUMNS, 1)
