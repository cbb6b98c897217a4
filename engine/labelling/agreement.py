"""How far readers agree beyond chance: Cohen's kappa of two, Fleiss' kappa of several, with intervals.

Shape legend: B bootstrap draws, I images, C classes. Intervals draw groups (a patient's lesions) with replacement, as all of
ours do (engine/evaluation/statistics.py).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.evaluation.statistics import Interval, group_weights, interval

Floats = npt.NDArray[np.float64]
Said = Mapping[str, Mapping[str, str]]
"""{image: {reader: class}}."""
DRAWS: Final = 1_000
_SEED: Final = 0


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far readers agree on the images that they have in common.

    Attributes:
        readers: two for Cohen's kappa; all who share an image with another for Fleiss'.
        images: how many images that is.
        share: how often two of them say the same, over images.
        kappa: agreement beyond chance; undefined where all say one class of all images.
    """

    readers: tuple[str, ...]
    images: int
    share: float
    kappa: Interval


def pairs(said: Said, group: Mapping[str, str], draws: int = DRAWS) -> tuple[Agreement, ...]:
    """Return Cohen's kappa (Cohen 1960) of each two readers who have an image in common, sorted by their names."""
    readers = sorted({reader for of_image in said.values() for reader in of_image})
    found = []
    for first, second in combinations(readers, 2):
        images = sorted(image for image, of in said.items() if first in of and second in of)
        if images:
            found.append(_pair(said, (first, second), images, group, draws))
    return tuple(found)


def several(said: Said, group: Mapping[str, str], draws: int = DRAWS) -> Agreement | None:
    """Return Fleiss' kappa over the images that two readers or more gave a class; None where there is none."""
    images = sorted(image for image, of in said.items() if len(of) > 1)
    if not images:
        return None
    classes = sorted({dx for image in images for dx in said[image].values()})
    counts_IC = np.array(
        [[list(said[image].values()).count(dx) for dx in classes] for image in images], float
    )
    weights_BI = _weights(images, group, draws)
    shares_I = _same(counts_IC)
    return Agreement(
        readers=tuple(sorted({reader for image in images for reader in said[image]})),
        images=len(images),
        share=float(shares_I.mean()),
        kappa=interval(float(fleiss(counts_IC)[0]), fleiss(counts_IC, weights_BI)),
    )


def fleiss(counts_IC: Floats, weights_BI: Floats | None = None) -> Floats:
    """Return Fleiss' kappa of how many readers gave each image each class, one per row of weights, (B,).

    kappa = (P - P_e) / (1 - P_e). P is the mean over images of sum_c n_c (n_c - 1) / (n (n - 1)), the share of pairs of
    readers who agree; P_e = sum_c p_c^2, p_c the mean over images of n_c / n. For one number n of readers that is Fleiss,
    Psychological Bulletin 76 (1971) 378; images with other numbers count alike, as Gwet has it (Handbook of Inter-Rater
    Reliability, 4th ed., 2014).

    Args:
        counts_IC: readers per image and class; each image has two or more.
        weights_BI: how often each image counts; None: once.

    Returns:
        NaN where all readers say one class of all images.
    """
    weights_BI = np.ones((1, len(counts_IC))) if weights_BI is None else weights_BI
    total_B = weights_BI.sum(axis=1)
    observed_B = weights_BI @ _same(counts_IC) / total_B
    share_BC = weights_BI @ (counts_IC / counts_IC.sum(axis=1, keepdims=True)) / total_B[:, None]
    return _beyond_chance(observed_B, (share_BC**2).sum(axis=1))


def cohen(first_IC: Floats, second_IC: Floats, weights_BI: Floats) -> Floats:
    """Return Cohen's kappa of two readers' one-hot classes, one per row of weights, (B,); NaN as ``fleiss``."""
    total_B = weights_BI.sum(axis=1)
    observed_B = weights_BI @ (first_IC * second_IC).sum(axis=1) / total_B
    chance_BC = (weights_BI @ first_IC) * (weights_BI @ second_IC) / total_B[:, None] ** 2
    return _beyond_chance(observed_B, chance_BC.sum(axis=1))


def _pair(
    said: Said, readers: tuple[str, str], images: Sequence[str], group: Mapping[str, str], draws: int
) -> Agreement:
    from sklearn.metrics import cohen_kappa_score

    first, second = ([said[image][reader] for image in images] for reader in readers)
    classes = np.unique([*first, *second])
    one_hot = [(np.array(given)[:, None] == classes).astype(np.float64) for given in (first, second)]
    with warnings.catch_warnings():  # where both say one class of all images; it is then NaN
        warnings.simplefilter("ignore")
        value = float(cohen_kappa_score(first, second))
    return Agreement(
        readers=readers,
        images=len(images),
        share=float(np.mean(np.array(first) == np.array(second))),
        kappa=interval(value, cohen(one_hot[0], one_hot[1], _weights(images, group, draws))),
    )


def _same(counts_IC: Floats) -> Floats:
    """Return the share of pairs of readers who agree on each image, (I,)."""
    readers_I = counts_IC.sum(axis=1)
    return np.asarray((counts_IC * (counts_IC - 1)).sum(axis=1) / (readers_I * (readers_I - 1)))


def _weights(images: Sequence[str], group: Mapping[str, str], draws: int) -> Floats:
    """Return how often each image counts in each draw of groups, (B, I)."""
    names, place_I = np.unique([group.get(image, image) for image in images], return_inverse=True)
    return group_weights(len(names), draws, np.random.default_rng(_SEED))[:, place_I]


def _beyond_chance(observed_B: Floats, chance_B: Floats) -> Floats:
    left_B = 1.0 - chance_B
    defined_B = left_B > 1e-12
    return np.where(defined_B, (observed_B - chance_B) / np.where(defined_B, left_B, 1.0), np.nan)
