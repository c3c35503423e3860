"""The order in which patients are worth annotating.

Each term is turned into a rank among the candidates, from 0 to 1, so that no term outweighs another by its scale. The
patient with the largest mean of the ranks comes first. How far a patient is from all who are annotated or chosen
changes with each choice (farthest-first traversal, Gonzalez 1985), so the ranks are made anew after each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

TERMS = ("quality", "disagreement", "diversity")


@dataclass(frozen=True)
class Patient:
    """A patient who may be annotated.

    Attributes:
        dice: expected Dice, the mean of the scans.
        disagreement: 1 minus the Dice of what several looks, or several networks, find; the mean of the scans.
        features: of the images [C], as the network sees them.
    """

    name: str
    dice: float
    disagreement: float
    features: NDArray = field(repr=False)


@dataclass(frozen=True)
class Choice:
    """A patient who is to be annotated, and why.

    Attributes:
        rank: 1 is the first.
        score: mean of the ranks of the terms that count, 0 to 1.
        distance: to the nearest patient who is annotated, or was chosen before; None where there is none.
    """

    patient: Patient
    rank: int
    score: float
    distance: float | None

    @property
    def reasons(self) -> dict[str, Any]:
        """What speaks for the patient, as a file holds it."""
        return {
            "score": round(self.score, 4),
            "expected_dice": round(self.patient.dice, 4),
            "disagreement": round(self.patient.disagreement, 4),
            "distance": None if self.distance is None else round(self.distance, 4),
        }


def choose(
    patients: Sequence[Patient], annotated: Sequence[NDArray], count: int, terms: Mapping[str, bool]
) -> list[Choice]:
    """The patients to annotate, the one of most worth first.

    Args:
        annotated: the features of those who are annotated.
        count: of patients, at most as many as there are.
        terms: which of ``TERMS`` count, at least one. Of equal patients the first one is taken.
    """
    assert any(terms[name] for name in TERMS), "the caller has checked it"
    remaining = list(patients)
    features = _standardised([*annotated, *[patient.features for patient in patients]])
    places = features[: len(annotated)]
    place_of = {patient.name: row for patient, row in zip(patients, features[len(annotated) :], strict=True)}
    choices: list[Choice] = []
    while remaining and len(choices) < count:
        distances = [_distance(place_of[patient.name], places) for patient in remaining]
        scores = _scores(remaining, distances, place_of, terms)
        best = int(np.argmax(scores))
        patient = remaining.pop(best)
        choices.append(Choice(patient, len(choices) + 1, float(scores[best]), distances[best]))
        places = [*places, place_of[patient.name]]
    return choices


def _scores(
    patients: Sequence[Patient],
    distances: Sequence[float | None],
    place_of: Mapping[str, NDArray],
    terms: Mapping[str, bool],
) -> NDArray:
    """The mean of the ranks of each patient."""
    ranks = []
    if terms["quality"]:
        ranks.append(_ranks([-patient.dice for patient in patients]))
    if terms["disagreement"]:
        ranks.append(_ranks([patient.disagreement for patient in patients]))
    if terms["diversity"] and distances[0] is not None:
        ranks.append(_ranks(distances))
    if not ranks:  # nothing to be unlike: the most typical one is the first
        middle = np.mean([place_of[patient.name] for patient in patients], axis=0)
        ranks.append(_ranks([-np.linalg.norm(place_of[patient.name] - middle) for patient in patients]))
    return np.mean(ranks, axis=0)


def _ranks(values: Sequence[Any]) -> NDArray:
    """The rank of each value, 0 of the smallest and 1 of the largest; equal values share one."""
    if len(values) == 1:
        return np.zeros(1)
    return (rankdata(np.round(np.asarray(values, float), 9)) - 1) / (len(values) - 1)


def _distance(place: NDArray, others: Sequence[NDArray]) -> float | None:
    """The distance to the nearest of the others; None without any."""
    if not len(others):
        return None
    return float(min(np.linalg.norm(place - other) for other in others))


def _standardised(features: Sequence[NDArray]) -> list[NDArray]:
    """Features of mean 0 and deviation 1, channel by channel, over the root of their count.

    A channel that is the same everywhere is 0.
    """
    table = np.asarray(features, float)
    deviation = table.std(0)
    scaled = (table - table.mean(0)) / np.where(deviation > 1e-9, deviation, np.inf)
    return list(scaled / np.sqrt(table.shape[1]))
