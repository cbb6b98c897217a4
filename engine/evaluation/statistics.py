"""Intervals and a paired test that treat the lesion, not the photograph, as the unit of chance.

Shape legend: B draws, L lesions, N images.
Several photographs of one lesion succeed or fail together, so resampling photographs would give intervals that are
too narrow (Field and Welsh 2007). Lesions are drawn with replacement instead, each with all its photographs.
"""

from __future__ import annotations

import math
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from engine.types import BoolArray, StrArray

Floats = npt.NDArray[np.float64]

LEVEL = 0.95
_SIGN_BLOCK = 500
_ROUNDING = 1e-12


class Interval(TypedDict):
    """A figure with its 95 % interval; all three are None where the figure is undefined."""

    value: float | None
    low: float | None
    high: float | None


def group_weights(n_groups: int, draws: int, rng: np.random.Generator) -> Floats:
    """Return how often each group occurs in each bootstrap draw, (B, G): multinomial rows that sum to G."""
    if n_groups == 0:
        return np.zeros((draws, 0))
    return rng.multinomial(n_groups, np.full(n_groups, 1.0 / n_groups), size=draws).astype(np.float64)


def interval(value: float, draws_B: Floats) -> Interval:
    """Return the 95 % percentile bootstrap interval (Efron 1979) around a figure.

    Draws in which the figure is undefined (NaN) are left out. On very small samples the percentiles may lie on one
    side of the figure itself: the interval is then extended to include it. A figure all lesions agree on gets an
    interval of width zero, which speaks of the sample, not of certainty: read it beside the number of lesions.
    """
    if not math.isfinite(value):
        return Interval(value=None, low=None, high=None)
    known = draws_B[np.isfinite(draws_B)]
    if len(known) == 0:
        return Interval(value=value, low=value, high=value)
    tail = 100.0 * (1.0 - LEVEL) / 2.0
    low, high = np.percentile(known, [tail, 100.0 - tail])
    return Interval(value=value, low=min(float(low), value), high=max(float(high), value))


def paired_p_value(
    correct_N: BoolArray,
    reference_N: BoolArray,
    group_N: StrArray,
    rng: np.random.Generator,
    draws: int = 10_000,
) -> float | None:
    """Two-sided p-value for a difference in accuracy between two classifiers on the same images.

    Each group contributes the mean over its images of (correct now - correct in the reference). Under the
    hypothesis of no difference each group's sign is as likely either way (sign-flip permutation test; Good 2005,
    Ch. 3), so p = (b + 1) / (draws + 1), b counting sign patterns with a sum at least as far from 0 as observed.
    Groups without a difference cannot change the sum; if there are only such, p is 1.

    Args:
        correct_N: whether the classifier was right on each image.
        reference_N: the same for the reference, in the same order.
        group_N: what belongs together: the lesion of each image, or the patient.
        rng: draws the signs.
        draws: number of sign patterns.

    Returns:
        p in (0, 1], or None where there are no images.
    """
    if len(correct_N) == 0:
        return None
    _, place_N = np.unique(group_N, return_inverse=True)
    difference_N = correct_N.astype(np.float64) - reference_N.astype(np.float64)
    mean_G = np.bincount(place_N, weights=difference_N) / np.bincount(place_N)
    moved = mean_G[mean_G != 0.0]
    observed = abs(moved.sum())
    extreme = 0
    for start in range(0, draws, _SIGN_BLOCK):
        block = min(_SIGN_BLOCK, draws - start)
        signs = rng.integers(0, 2, size=(block, len(moved))) * 2 - 1
        extreme += int((np.abs(signs @ moved) >= observed - _ROUNDING).sum())
    return (extreme + 1) / (draws + 1)
