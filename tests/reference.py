"""The slow twin: equations 1 to 8 of Mondal et al. (2019), and Hung et al. (2018), in plain NumPy, pixel by pixel.

Arrays are [B, channels, H, W]; networks are functions from such arrays to such arrays. Nothing here knows torch or
the package: where the two disagree, one of them is wrong. Means stand where the paper writes sums, as in the
published code; the generators' side of equations 4 and 5 is the least-squares form, (D(fake) - 1)^2.
"""

import math
from collections.abc import Callable

import numpy as np

Network = Callable[[np.ndarray], np.ndarray]

# eq. 8 in the names of the terms, and the published code's lambdas
LAMBDA_1, LAMBDA_2, LAMBDA_3, LAMBDA_4, LAMBDA_5 = 1.0, 0.05, 1.0, 0.5, 0.5


def softmax(logits: np.ndarray) -> np.ndarray:
    probabilities = np.zeros_like(logits)
    for b, h, w in np.ndindex(logits.shape[0], *logits.shape[2:]):
        powers = [math.exp(value) for value in logits[b, :, h, w]]
        probabilities[b, :, h, w] = [power / sum(powers) for power in powers]
    return probabilities


def H(y: np.ndarray, probabilities: np.ndarray) -> float:
    """Eq. 2, over the pixels that have a class; 0 where none has."""
    pixels = []
    for b, h, w in np.ndindex(y.shape[0], *y.shape[2:]):
        for k in range(y.shape[1]):
            if y[b, k, h, w] == 1:
                pixels.append(-math.log(probabilities[b, k, h, w]))
    return sum(pixels) / len(pixels) if pixels else 0.0


def L_gen_S(G_IS: Network, x: np.ndarray, y: np.ndarray) -> float:
    """Eq. 1."""
    return H(y, softmax(G_IS(x)))


def L_gen_I(G_SI: Network, x: np.ndarray, y: np.ndarray) -> float:
    """Eq. 3, over the pixels that have a class."""
    painted = G_SI(y)
    return mean_of((painted[b, c, h, w] - x[b, c, h, w]) ** 2 for b, h, w in annotated(y) for c in range(x.shape[1]))


def L_disc_S(D_S: Network, y: np.ndarray, fakes: np.ndarray) -> float:
    """Eq. 4, the fakes being segmentations G_IS(u); of true masks the pixels that have a class."""
    scores = D_S(y)
    return mean_of((scores[b, 0, h, w] - 1) ** 2 for b, h, w in annotated(y)) + mean_of(
        score**2 for score in D_S(fakes).flat
    )


def L_disc_I(D_I: Network, u: np.ndarray, fakes: np.ndarray) -> float:
    """Eq. 5, the fakes being images G_SI(y)."""
    return mean_of((score - 1) ** 2 for score in D_I(u).flat) + mean_of(score**2 for score in D_I(fakes).flat)


def L_adv_S(D_S: Network, G_IS: Network, u: np.ndarray) -> float:
    """The generator's side of eq. 4."""
    return mean_of((score - 1) ** 2 for score in D_S(softmax(G_IS(u))).flat)


def L_adv_I(D_I: Network, G_SI: Network, y: np.ndarray) -> float:
    """The generator's side of eq. 5, over the pixels of y that have a class."""
    scores = D_I(G_SI(y))
    return mean_of((scores[b, 0, h, w] - 1) ** 2 for b, h, w in annotated(y))


def L_cycle_I(G_IS: Network, G_SI: Network, u: np.ndarray) -> float:
    """Eq. 6."""
    return mean_of(abs(a - b) for a, b in zip(G_SI(softmax(G_IS(u))).flat, u.flat, strict=True))


def L_cycle_S(G_IS: Network, G_SI: Network, y: np.ndarray) -> float:
    """Eq. 7."""
    return H(y, softmax(G_IS(G_SI(y))))


def L_generators(
    G_IS: Network, G_SI: Network, D_S: Network, D_I: Network, x: np.ndarray, y: np.ndarray, u: np.ndarray
) -> float:
    """Eq. 8, what the generators minimise of it."""
    return (
        L_gen_S(G_IS, x, y)
        + LAMBDA_1 * L_gen_I(G_SI, x, y)
        + LAMBDA_2 * L_cycle_S(G_IS, G_SI, y)
        + LAMBDA_3 * L_cycle_I(G_IS, G_SI, u)
        + LAMBDA_4 * L_adv_S(D_S, G_IS, u)
        + LAMBDA_5 * L_adv_I(D_I, G_SI, y)
    )


def L_discriminators(G_IS: Network, G_SI: Network, D_S: Network, D_I: Network, y: np.ndarray, u: np.ndarray) -> float:
    """Eq. 8, what the discriminators minimise of it (where they are shown the newest fakes)."""
    return LAMBDA_4 * L_disc_S(D_S, y, softmax(G_IS(u))) + LAMBDA_5 * L_disc_I(D_I, u, G_SI(y))


# Hung et al. (2018); D_S gives logits here, and bce is minus the logarithm of the probability given to the truth


def bce(logit: float, truth: int) -> float:
    real = 1 / (1 + math.exp(-logit))
    return -math.log(real if truth == 1 else 1 - real)


def L_ce(G_IS: Network, x: np.ndarray, y: np.ndarray) -> float:
    """Of the pixels that have a class."""
    return H(y, softmax(G_IS(x)))


def L_adv_x(D_S: Network, G_IS: Network, x: np.ndarray, y: np.ndarray) -> float:
    """The segmentation of a labelled image taken for true, at the pixels that have a class."""
    scores = D_S(softmax(G_IS(x)))
    return mean_of(bce(scores[b, 0, h, w], 1) for b, h, w in annotated(y))


def L_adv_u(D_S: Network, G_IS: Network, u: np.ndarray) -> float:
    """The segmentation of an unlabelled image taken for true, everywhere."""
    return mean_of(bce(score, 1) for score in D_S(softmax(G_IS(u))).flat)


def L_semi(D_S: Network, G_IS: Network, u: np.ndarray, threshold: float) -> float:
    """Cross-entropy with the segmenter's own most probable class, where D_S gives it at least the threshold."""
    s_u = softmax(G_IS(u))
    return mean_of(-math.log(max(s_u[b, :, h, w])) for b, h, w in trusted(D_S, s_u, threshold))


def L_D(D_S: Network, s_x: np.ndarray, y: np.ndarray, s_u: np.ndarray, real: np.ndarray) -> float:
    """Segmentations taken for false, those of x where y has a class; true masks for true where they have one."""
    scores_x, scores_u, scores_real = D_S(s_x), D_S(s_u), D_S(real)
    fakes = [bce(scores_x[b, 0, h, w], 0) for b, h, w in annotated(y)] + [bce(score, 0) for score in scores_u.flat]
    return mean_of(fakes) + mean_of(bce(scores_real[b, 0, h, w], 1) for b, h, w in annotated(real))


def trusted(D_S: Network, s_u: np.ndarray, threshold: float) -> list[tuple[int, int, int]]:
    """The pixels whose segmentation D_S takes for true with at least this probability."""
    scores, pixels = D_S(s_u), np.ndindex(s_u.shape[0], *s_u.shape[2:])
    return [(b, h, w) for b, h, w in pixels if 1 / (1 + math.exp(-scores[b, 0, h, w])) >= threshold]


def linear_map(weight: np.ndarray, bias: np.ndarray) -> Network:
    """A 1x1 convolution: ``weight`` [out, in] on each pixel's channels."""

    def network(x: np.ndarray) -> np.ndarray:
        out = np.zeros((x.shape[0], weight.shape[0], *x.shape[2:]))
        for b, h, w in np.ndindex(x.shape[0], *x.shape[2:]):
            for o in range(weight.shape[0]):
                out[b, o, h, w] = bias[o] + sum(weight[o, i] * x[b, i, h, w] for i in range(weight.shape[1]))
        return out

    return network


def annotated(y: np.ndarray) -> list[tuple[int, int, int]]:
    """The pixels that have a class."""
    return [(b, h, w) for b, h, w in np.ndindex(y.shape[0], *y.shape[2:]) if any(y[b, :, h, w])]


def mean_of(values) -> float:
    values = list(values)
    return sum(values) / len(values) if values else 0.0


def expected_dice(s: np.ndarray, temperature: float, slices: list[int]) -> float:
    """e_T of the slices of probabilities [K, H, W, S]: the mean over the structures found in them; NaN without one."""
    scores = []
    for k in range(1, s.shape[0]):
        common = mass = size = 0.0
        for h, w in np.ndindex(s.shape[1:3]):
            for z in slices:
                powers = [s[c, h, w, z] ** (1 / temperature) for c in range(s.shape[0])]
                found = all(s[k, h, w, z] >= s[c, h, w, z] for c in range(s.shape[0]))
                common += powers[k] / sum(powers) * found
                mass += powers[k] / sum(powers)
                size += found
        if size:
            scores.append(2 * common / (mass + size))
    return sum(scores) / len(scores) if scores else math.nan


def line_of_trust(x: list[float], y: list[float], patients: list[str], steep: float) -> tuple[float, float, float]:
    """Shift, slope and middle of y = x + shift + slope (x - middle), patients with equal weights, the slope shrunk."""
    names = sorted(set(patients))
    weights = [1 / patients.count(patient) / len(names) for patient in patients]
    middle = sum(w * a for w, a in zip(weights, x, strict=True))
    shift = sum(w * (b - a) for w, a, b in zip(weights, x, y, strict=True))
    covariance = variance = 0.0
    for w, a, b in zip(weights, x, y, strict=True):
        covariance += w * (a - middle) * (b - a - shift)
        variance += w * (a - middle) ** 2
    return shift, covariance / (variance + steep / len(names)), middle
