"""Classification figures of many weighted resamples at once.

Shape legend: B weightings (bootstrap draws; one row of ones gives the plain figure), N images, G groups,
C classes, K summed quantities. Rows of ``confusion_BCC`` are the truth, columns the prediction.

A weighting counts groups (lesions; the lesions of one patient), so an image weighs what its group weighs. Figures that
are sums over images come from one matrix product (draws x groups); rank figures sort the scores once and accumulate
weights along that order.
An undefined figure (nothing to divide by) is NaN here and becomes null in :mod:`engine.evaluation.statistics`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.types import BoolArray, FloatArray, IntArray

Floats = npt.NDArray[np.float64]

CALIBRATION_BINS = 15
MEAN_SENSITIVITY_OVER = (0.80, 0.98)
"""Specificities between which the malignant sensitivity is averaged. Above 98 % a handful of benign images decide."""
_SMALLEST_PROBABILITY = 1e-12
_ROUNDING = 1e-9


def group_sums(values_NK: FloatArray, group_N: IntArray, n_groups: int) -> Floats:
    """Sum each column over the images of a group: (N, K) -> (G, K)."""
    return np.column_stack(
        [np.bincount(group_N, weights=column, minlength=n_groups) for column in np.asarray(values_NK).T]
    )


def confusion_columns(label_N: IntArray, predicted_N: IntArray, n_classes: int) -> Floats:
    """One-hot (true, predicted) pairs, (N, C*C); their weighted sums are confusion matrices."""
    columns = np.zeros((len(label_N), n_classes * n_classes))
    columns[np.arange(len(label_N)), label_N * n_classes + predicted_N] = 1.0
    return columns


def confidence_bins(
    prob_NC: FloatArray, label_N: IntArray, bins: int = CALIBRATION_BINS
) -> tuple[Floats, BoolArray, IntArray]:
    """Return the top label's confidence, whether it is right, and its bin: equal widths over (0, 1], right-closed, (N,)."""
    confidence_N = prob_NC.max(axis=1).astype(np.float64)
    right_N = np.asarray(prob_NC.argmax(axis=1) == label_N)
    return confidence_N, right_N, np.clip(np.ceil(confidence_N * bins).astype(np.int64) - 1, 0, bins - 1)


def calibration_columns(prob_NC: FloatArray, label_N: IntArray, bins: int = CALIBRATION_BINS) -> Floats:
    """Correctness minus confidence of the top label in its bin, (N, bins)."""
    confidence_N, right_N, bin_N = confidence_bins(prob_NC, label_N, bins)
    columns = np.zeros((len(label_N), bins))
    columns[np.arange(len(label_N)), bin_N] = right_N - confidence_N
    return columns


def proper_score_columns(prob_NC: FloatArray, label_N: IntArray) -> Floats:
    """Log loss (nats, the true class's probability floored at 1e-12) and Brier score (0-2) of each image, (N, 2)."""
    rows = np.arange(len(label_N))
    truth = np.zeros(prob_NC.shape)
    truth[rows, label_N] = 1.0
    nll = -np.log(np.clip(prob_NC[rows, label_N].astype(np.float64), _SMALLEST_PROBABILITY, 1.0))
    return np.column_stack([nll, ((prob_NC - truth) ** 2).sum(axis=1)])


def divide(above: Floats, below: Floats) -> Floats:
    """Elementwise quotient; NaN where there is nothing to divide by."""
    quotient: Floats = np.full(np.broadcast(above, below).shape, np.nan)
    np.divide(above, below, out=quotient, where=below > 0)
    return quotient


def mean_defined(values_BC: Floats) -> Floats:
    """Mean over the classes where the figure is defined, (B,); NaN where it is for none."""
    known = ~np.isnan(values_BC)
    return divide(np.where(known, values_BC, 0.0).sum(axis=1), known.sum(axis=1).astype(np.float64))


def accuracy(confusion_BCC: Floats) -> Floats:
    """Share of images predicted right, (B,)."""
    return divide(np.trace(confusion_BCC, axis1=1, axis2=2), confusion_BCC.sum(axis=(1, 2)))


def sensitivity(confusion_BCC: Floats) -> Floats:
    """Share of each class's images that is recognised, (B, C); NaN for a class without images."""
    return divide(np.diagonal(confusion_BCC, axis1=1, axis2=2), confusion_BCC.sum(axis=2))


def specificity(confusion_BCC: Floats) -> Floats:
    """Share of the other classes' images that is not predicted as the class, (B, C)."""
    hits = np.diagonal(confusion_BCC, axis1=1, axis2=2)
    others = confusion_BCC.sum(axis=(1, 2))[:, None] - confusion_BCC.sum(axis=2)
    false_alarms = confusion_BCC.sum(axis=1) - hits
    return divide(others - false_alarms, others)


def macro_f1(confusion_BCC: Floats) -> Floats:
    """Mean of 2 TP / (2 TP + FP + FN) over the classes that have images, (B,)."""
    hits = np.diagonal(confusion_BCC, axis1=1, axis2=2)
    size, taken = confusion_BCC.sum(axis=2), confusion_BCC.sum(axis=1)
    return mean_defined(np.where(size > 0, divide(2.0 * hits, size + taken), np.nan))


def expected_calibration_error(calibration_BK: Floats, total_B: Floats) -> Floats:
    """Sum over bins of |accuracy - mean confidence|, weighted by the bin's share (Guo et al. 2017, Eq. 3), (B,)."""
    return divide(np.abs(calibration_BK).sum(axis=1), total_B)


def area_under_roc(weights_BN: Floats, score_N: FloatArray, positive_N: BoolArray) -> Floats:
    """Probability that a positive outscores a negative, ties counting half (Mann-Whitney), (B,).

    NaN where a draw holds no positive or no negative.
    """
    order = np.argsort(score_N, kind="stable")
    score, positive = np.asarray(score_N)[order], positive_N[order]
    weights = weights_BN[:, order]
    below = np.zeros((len(weights), len(score) + 1))
    np.cumsum(np.where(positive, 0.0, weights), axis=1, out=below[:, 1:])
    first = np.searchsorted(score, score[positive], side="left")
    last = np.searchsorted(score, score[positive], side="right")
    weights_BP = weights[:, positive]
    outscored = (weights_BP * (below[:, first] + below[:, last])).sum(axis=1) / 2.0
    return divide(outscored, weights_BP.sum(axis=1) * below[:, -1])


def sensitivity_at_specificity(
    weights_BN: Floats, score_N: FloatArray, positive_N: BoolArray, floor: float
) -> Floats:
    """Highest sensitivity on a draw's own ROC among thresholds whose specificity is at least ``floor``, (B,).

    An image is called positive from the threshold upwards; calling none is always allowed (sensitivity 0).
    """
    order = np.argsort(np.negative(score_N), kind="stable")
    score, positive = np.asarray(score_N)[order], positive_N[order]
    weights = weights_BN[:, order]
    ends = np.flatnonzero(np.append(score[1:] != score[:-1], True)) if len(score) else np.empty(0, np.int64)
    hits = np.cumsum(np.where(positive, weights, 0.0), axis=1)
    alarms = np.cumsum(np.where(positive, 0.0, weights), axis=1)
    n_positive = (weights * positive).sum(axis=1)
    n_negative = (weights * ~positive).sum(axis=1)
    allowed = (1.0 - floor) * n_negative[:, None] + _ROUNDING
    best = np.where(alarms[:, ends] <= allowed, hits[:, ends], 0.0).max(axis=1, initial=0.0)
    return np.where(n_negative > 0, divide(best, n_positive), np.nan)


def mean_sensitivity(
    weights_BN: Floats,
    score_N: FloatArray,
    positive_N: BoolArray,
    specificities: tuple[float, float] = MEAN_SENSITIVITY_OVER,
) -> Floats:
    """Mean sensitivity over a range of specificities, read from each draw's own ROC, (B,).

    The partial area of McClish (1989) divided by the range's width: the empirical ROC with straight lines between its
    points (so that tied scores count half, as in ``area_under_roc``) is integrated over the false-positive rates
    1 - high to 1 - low, and the area divided by high - low. No threshold of val enters. Chance gives 0.11 from 80 to 98 %.
    NaN where a draw holds no positive or no negative.
    """
    low, high = specificities
    order = np.argsort(np.negative(score_N), kind="stable")
    score, positive = np.asarray(score_N)[order], positive_N[order]
    weights = weights_BN[:, order]
    ends = np.flatnonzero(np.append(score[1:] != score[:-1], True)) if len(score) else np.empty(0, np.int64)
    x_BK, y_BK = (
        np.pad(np.cumsum(np.where(side, weights, 0.0), axis=1)[:, ends], ((0, 0), (1, 0)))
        for side in (~positive, positive)
    )
    x_BK, y_BK = divide(x_BK, x_BK[:, -1:]), divide(y_BK, y_BK[:, -1:])
    width_BK = np.diff(x_BK, axis=1)
    left_BK, right_BK = (np.clip(side, 1.0 - high, 1.0 - low) for side in (x_BK[:, :-1], x_BK[:, 1:]))
    slope_BK = np.divide(np.diff(y_BK, axis=1), width_BK, out=np.zeros_like(width_BK), where=width_BK > 0)
    middle_BK = y_BK[:, :-1] + slope_BK * ((left_BK + right_BK) / 2.0 - x_BK[:, :-1])
    area_B: Floats = (middle_BK * (right_BK - left_BK)).sum(axis=1) / (high - low)
    return np.where((weights * positive).sum(axis=1) * (weights * ~positive).sum(axis=1) > 0, area_B, np.nan)


FROM_CONFUSION: Final[Mapping[str, Callable[[Floats], Floats]]] = {
    "accuracy": accuracy,
    "balanced_accuracy": lambda confusion_BCC: mean_defined(sensitivity(confusion_BCC)),
    "macro_f1": macro_f1,
}
"""Figures over all classes that follow from confusion matrices, (B, C, C) -> (B,). Each is a key of report.json."""
