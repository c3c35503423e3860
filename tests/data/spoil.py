"""Ways to spoil a file of a data set, each giving the file back."""

import gzip
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np

FAULT, WARNING = "fault", "warning"


def file(root: Path, patient: int, end: str) -> Path:
    return root / "training" / f"patient{patient:03d}" / f"patient{patient:03d}_{end}"


def image(root: Path, patient: int) -> Path:
    return file(root, patient, "frame01.nii.gz")


def mask(root: Path, patient: int) -> Path:
    return file(root, patient, "frame01_gt.nii.gz")


def info(root: Path, patient: int) -> Path:
    return image(root, patient).with_name("Info.cfg")


def rewrite(path: Path, change=lambda voxels: voxels, affine=lambda affine: affine, dtype=None) -> Path:
    """Store a volume again with other voxels or another affine, its header otherwise kept."""
    old = nib.load(path)
    voxels = change(np.asanyarray(old.dataobj).copy())
    header = nib.Nifti1Header() if voxels.dtype.fields else old.header.copy()
    header.set_data_dtype(dtype or voxels.dtype)
    new = nib.Nifti1Image(voxels, None, header)
    new.set_sform(affine(old.affine.copy()), 1)
    new.set_qform(affine(old.affine.copy()), 1)
    nib.save(new, path)
    return path


def put(path: Path, place: tuple[int, int, int], value: float) -> Path:
    """One voxel set to another value."""

    def change(voxels):
        voxels = voxels.astype(np.float32)
        voxels[place] = value
        return voxels

    return rewrite(path, change)


def patch(path: Path, at: int, content: bytes) -> Path:
    """Bytes of a compressed file's header overwritten, its checksum made anew."""
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[at : at + len(content)] = content
    path.write_bytes(gzip.compress(bytes(raw)))
    return path


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-200])
    return path


def flip_a_bit(path: Path) -> Path:
    content = bytearray(path.read_bytes())
    content[-6] ^= 4  # in the checksum: the voxels inflate as they should
    path.write_bytes(content)
    return path


def text_in(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def gone(path: Path) -> Path:
    path.unlink()
    return path


def moved(affine):
    affine[:3, 3] += affine[:3, 0] / np.linalg.norm(affine[:3, 0]) * 15
    return affine


def turned(affine):
    affine[:3, 0] *= -1
    return affine


def swapped(voxels):
    return voxels.swapaxes(0, 1)


def without(label: int):
    return lambda voxels: np.where(voxels == label, 0, voxels).astype(voxels.dtype)


def rgb(voxels):
    return np.zeros(voxels.shape, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))


def mask_of(path: Path) -> Path:
    return path.with_name(path.name.replace(".nii", "_gt.nii"))


def late(path: Path) -> Path:
    """The ES file beside the ED file."""
    return path.with_name(path.name.replace("frame01", "frame10"))


def both(path: Path, change) -> Path:
    """The same change to an image and its mask."""
    for each in (path, mask_of(path)):
        change(each)
    return path


def in_unit(path: Path, factor: float, code: int) -> Path:
    def scaled(affine):
        return affine * [[factor] * 3 + [1]]

    return both(path, lambda each: patch(rewrite(each, affine=scaled), 123, bytes([code])))


def two_geometries(path: Path) -> Path:
    """An sform 15 mm away from the qform."""
    old = nib.load(path)
    old.set_qform(old.affine, 1)
    old.set_sform(moved(old.affine.copy()), 1)
    nib.save(old, path)
    return path


def files_of(root: Path, source: int, n: int) -> Path:
    """Image and mask of another patient, whose voxels have another size."""
    shutil.copy(mask(root, source), mask(root, n))
    return Path(shutil.copy(image(root, source), image(root, n)))


def without_masks(root: Path, source: int, n: int) -> Path:
    """The image of another patient, whose own masks are gone."""
    for path in (mask(root, n), late(mask(root, n))):
        path.unlink()
    return same_voxels(image(root, source), image(root, n))


def a_slice_less(path: Path) -> None:
    rewrite(path, lambda voxels: voxels[..., :-1])


def both_parts(root: Path, n: int) -> Path:
    name = f"patient{n:03d}"
    return Path(shutil.copytree(root / "training" / name, root / "testing" / name))


def stray_mask(root: Path, n: int) -> Path:
    return Path(shutil.copy(mask(root, n), file(root, n, "frame05_gt.nii.gz")))


def same_voxels(source: Path, target: Path, dtype=None) -> Path:
    voxels = np.asanyarray(nib.load(source).dataobj)
    return rewrite(target, lambda _: voxels, dtype=dtype)
