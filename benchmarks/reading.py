#!/usr/bin/env python
"""What checking a scan costs: our reader beside nibabel's and SimpleITK's, which check less.

    python benchmarks/reading.py [--size 256 256 150] [--rounds 9]

Each reads all voxels of one file of 16-bit integers into memory; that all get the same is checked.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK
from measure import in_turn, machine, table
from scipy.ndimage import gaussian_filter

from acdc_semicycle.imageio import volumes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=3, default=[256, 256, 150])
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    print(machine("cpu"))
    random, rows = np.random.default_rng(0), []
    smooth = gaussian_filter(random.random(given.size), 2) * 3000
    voxels = (smooth + 40 * random.random(given.size)).astype(np.int16)
    with tempfile.TemporaryDirectory(prefix="semicycle") as folder:
        for end in (".nii.gz", ".nii", ".nrrd", ".mha"):
            path = Path(folder) / f"scan{end}"
            volume = volumes.Volume(voxels[..., None], np.diag([1.4, 1.4, 5.0, 1.0]))
            volumes.save(path, voxels, volume)
            forms = {
                "nibabel": lambda path=path: np.array(nibabel.load(path).dataobj[...]),
                "SimpleITK": lambda path=path: SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).T,
                "ours": lambda path=path: volumes.read(path).voxels[..., 0],
            }
            if not end.startswith(".nii"):
                forms.pop("nibabel")
            assert all(np.array_equal(read(), voxels) for read in forms.values())
            times = in_turn(forms, given.rounds)
            rows.append(
                [
                    end,
                    *(f"{times[name] * 1e3:.1f}" if name in times else "" for name in ("nibabel", "SimpleITK", "ours")),
                ]
            )
    print(table([f"{' x '.join(map(str, given.size))}, ms", "nibabel", "SimpleITK", "ours"], rows))


if __name__ == "__main__":
    main()
