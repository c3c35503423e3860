"""The vocabulary of shapes: what a tensor holds and how its axes are named.

    B batch   C image channels   K classes, background first   H, W rows and columns of a slice

Checked in the tests only (``pytest --jaxtyping-packages=acdc_semicycle,beartype.beartype``).
"""

from jaxtyping import Float, Int
from torch import Tensor

Image = Float[Tensor, "B C H W"]  # intensities in [-1, 1]
Unlabelled = Float[Tensor, "U C H W"]  # the same; a batch may hold another number of unlabelled images
Mask = Float[Tensor, "B K H W"]  # one-hot, or softmax probabilities; all zero where nobody annotated
Logits = Float[Tensor, "B K H W"]  # before the softmax
Score = Float[Tensor, "B 1 H W"]  # a discriminator's, one a pixel: 1 for real, 0 for fake
Known = Float[Tensor, "B 1 H W"]  # 1 where a pixel is annotated, else 0
Labels = Int[Tensor, "B 1 H W"]  # class indices
Scalar = Float[Tensor, ""]
