"""Draws docs/results/pretrained.png: phantom hearts as the pretrained network's training has them.

python docs/results/pretrained.py
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap

from acdc_semicycle.datasets.acdc import COLOURS
from acdc_semicycle.datasets.random_hearts import random_slice

ROWS, COLUMNS = 3, 7

figure, grid = plt.subplots(ROWS, COLUMNS, figsize=(COLUMNS, ROWS), dpi=130)
for number, axes in enumerate(grid.flat):
    image, mask = random_slice(np.random.default_rng([1, number]))
    axes.imshow(image.T, cmap="gray", vmax=np.percentile(image, 99.5), interpolation="bilinear")
    colours = ListedColormap(np.array(COLOURS) / 255)
    axes.imshow(np.ma.masked_equal(mask.T, 0), cmap=colours, vmin=0, vmax=3, alpha=0.45, interpolation="nearest")
    axes.set_axis_off()
figure.subplots_adjust(0, 0, 1, 1, wspace=0.03, hspace=0.03)
figure.savefig(Path(__file__).with_suffix(".png"))
