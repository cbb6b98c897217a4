"""Operating points: thresholds fixed on one sample (val), applied to another (test), for many weighted resamples at once.

Shape legend: B weightings (bootstrap draws; one row of ones gives the plain figure), N images.
"""

from __future__ import annotations

import numpy as np

from engine.evaluation.metrics import Floats, divide
from engine.types import BoolArray, FloatArray

_ROUNDING = 1e-9


def specificity_thresholds(
    weights_BN: Floats, score_N: FloatArray, positive_N: BoolArray, specificity: float
) -> Floats:
    """Return the lowest threshold whose specificity is at least ``specificity`` in each weighting, (B,).

    An image is called positive from the threshold upwards. All thresholds between two neighbouring scores decide alike, so
    of the lowest such gap the middle is returned, as ``engine.classifier.calibration`` does. NaN where a weighting
    holds no positive or no negative.
    """
    scores = np.asarray(score_N, dtype=np.float64)
    if positive_N.all() or not positive_N.any():
        return np.full(len(weights_BN), np.nan)
    order = np.argsort(scores[~positive_N], kind="stable")
    negative = scores[~positive_N][order]
    reached_BN = np.cumsum(weights_BN[:, ~positive_N][:, order], axis=1)
    total_B = reached_BN[:, -1]
    enough_BN = reached_BN >= specificity * total_B[:, None] - _ROUNDING
    below = negative[np.argmax(enough_BN, axis=1)]
    ordered = np.sort(scores)
    after = np.searchsorted(ordered, below, side="right")
    above = np.where(
        after < len(ordered), ordered[np.minimum(after, len(ordered) - 1)], np.maximum(1.0, below)
    )
    middle = (below + above) / 2
    threshold = np.where(middle > below, middle, np.nextafter(below, np.inf))
    held = (total_B > 0) & (weights_BN[:, positive_N].sum(axis=1) > 0)
    return np.where(held, threshold, np.nan)


def sensitivity_thresholds(
    weights_BN: Floats, score_N: FloatArray, positive_N: BoolArray, sensitivity: float
) -> Floats:
    """Return the highest threshold whose sensitivity is at least ``sensitivity`` in each weighting, (B,); else as above."""
    return -specificity_thresholds(weights_BN, np.negative(score_N), ~positive_N, sensitivity)


def shares_at(
    weights_BN: Floats, score_N: FloatArray, positive_N: BoolArray, threshold_B: Floats
) -> tuple[Floats, Floats]:
    """Return sensitivity and specificity (B,) of each weighting at its own threshold; NaN where undefined."""
    called, passed = (
        _at_or_above(weights_BN[:, side], np.asarray(score_N, dtype=np.float64)[side], threshold_B)
        for side in (positive_N, ~positive_N)
    )
    known = np.isfinite(threshold_B)
    return np.where(known, called, np.nan), np.where(known, 1.0 - passed, np.nan)


def _at_or_above(weights_BN: Floats, score_N: Floats, threshold_B: Floats) -> Floats:
    """Weighted share of the scores that reach the threshold, (B,)."""
    order = np.argsort(score_N, kind="stable")
    below_BN = np.zeros((len(weights_BN), len(score_N) + 1))
    np.cumsum(weights_BN[:, order], axis=1, out=below_BN[:, 1:])
    first_B = np.searchsorted(score_N[order], threshold_B, side="left")
    total_B = below_BN[:, -1]
    return divide(total_B - below_BN[np.arange(len(weights_BN)), first_B], total_B)
