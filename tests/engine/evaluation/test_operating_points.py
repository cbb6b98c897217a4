"""Thresholds fixed on val in weighted resamples: the rule of the calibration, by hand, and as if images were repeated."""

from __future__ import annotations

import numpy as np
import pytest

from engine.classifier.calibration import operating_point, sensitivity_point
from engine.evaluation.operating_points import sensitivity_thresholds, shares_at, specificity_thresholds

SCORE = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.35, 0.7, 0.9])
POSITIVE = np.array([False] * 5 + [True] * 3)


def test_by_hand() -> None:
    ones = np.ones((1, 8))
    # 80 % of five benign scores lie at or below 0.4; the next score of any image is 0.6
    assert specificity_thresholds(ones, SCORE, POSITIVE, 0.8)[0] == pytest.approx(0.5)
    # two of three positives (67 %) reach 0.7; the next score below it is 0.6
    assert sensitivity_thresholds(ones, SCORE, POSITIVE, 0.6)[0] == pytest.approx(0.65)
    sensitivity, specificity = shares_at(ones, SCORE, POSITIVE, np.array([0.5]))
    assert (sensitivity[0], specificity[0]) == pytest.approx((2 / 3, 4 / 5))


@pytest.mark.parametrize("target", [0.05, 0.5, 0.9, 0.95, 0.99])
def test_a_weight_means_so_many_copies(target: float) -> None:
    rng = np.random.default_rng(0)
    score = np.round(rng.random(60), 2)  # with ties
    positive = rng.random(60) < 0.4
    weights = rng.integers(0, 4, (20, 60)).astype(np.float64)
    specific = specificity_thresholds(weights, score, positive, target)
    sensitive = sensitivity_thresholds(weights, score, positive, target)
    for row, many in enumerate(weights.astype(int)):
        copies, truth = np.repeat(score, many), np.repeat(positive, many)
        for threshold, reference in (
            (specific[row], operating_point(copies, truth, target)),
            (sensitive[row], sensitivity_point(copies, truth, target)),
        ):
            assert reference is not None
            assert ((copies >= threshold) == (copies >= reference)).all()


def test_the_calibrations_own_threshold_on_whole_parts() -> None:
    rng = np.random.default_rng(1)
    score, positive = rng.random(200), rng.random(200) < 0.3
    ones = np.ones((1, 200))
    assert specificity_thresholds(ones, score, positive, 0.9)[0] == operating_point(score, positive, 0.9)
    assert sensitivity_thresholds(ones, score, positive, 0.95)[0] == sensitivity_point(score, positive, 0.95)


def test_a_draw_without_a_side_is_undefined() -> None:
    weights = np.ones((2, 8))
    weights[1, 5:] = 0.0
    assert np.isnan(specificity_thresholds(weights, SCORE, POSITIVE, 0.9)).tolist() == [False, True]
    assert np.isnan(specificity_thresholds(weights, SCORE, np.zeros(8, dtype=bool), 0.9)).all()
    assert np.isnan(shares_at(weights, SCORE, POSITIVE, np.array([np.nan, 0.5]))[0]).tolist() == [True, True]
