"""When an interval says nothing, and what stands in its place; intervals as the bootstrap itself gives them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.evaluation.intervals import DIFFERENCE, holds, lesions_behind, no_interval
from engine.evaluation.scoring import ScoredSplit, score_split
from engine.types import strings


@pytest.mark.parametrize(
    ("ends", "lesions", "said"),
    [
        ((0.78, 0.70, 0.85), 30, ""),
        ((1.0, 0.85, 1.0), 30, ""),  # the end of the scale is no end of the interval
        ((0.0, 0.0, 0.12), 30, ""),
        ((0.0, 0.0, 0.0), 1, "too few: 1 lesion"),
        ((1.0, 1.0, 1.0), 19, "too few: 19 lesions"),
        ((1.0, 1.0, 1.0), 20, "all 20 lesions alike"),
        ((0.048, 0.048, 0.09), 88, "too few: 88 lesions"),
        ((0.5, 0.6, 0.9), 5, "too few: 5 lesions"),
        ((0.5, 0.5, 0.5), None, "no interval"),
    ],
)
def test_what_is_said(ends: tuple[float, float, float], lesions: int | None, said: str) -> None:
    assert no_interval(*ends, lesions) == said


def test_no_difference_is_the_end_of_no_scale() -> None:
    assert holds(0.0, 0.0, 0.1) and not holds(0.0, 0.0, 0.1, DIFFERENCE)
    assert holds(0.7, 0.6, 0.8, (0.0, math.inf))


def test_the_bootstrap_of_one_lesion_says_nothing() -> None:
    prob_NC = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4]])
    lesion = strings(["a", "b", "c", "d"])
    split = ScoredSplit(
        prob_NC=prob_NC, label_N=np.array([0, 0, 0, 1]), lesion_id=lesion, group_N=lesion, classes=("nv", "mel")
    )  # fmt: skip
    found = score_split(split, draws=50, rng=np.random.default_rng(0))
    figure = found["per_class"]["mel"]["sensitivity"]
    lesions = lesions_behind(found, "per_class.mel.sensitivity")
    assert lesions == 1 and no_interval(**figure, lesions=lesions) == "too few: 1 lesion"
    assert lesions_behind(found, "per_class.mel.specificity") == 3
    assert lesions_behind({"per_class": {"mel": {}}}, "per_class.mel.specificity") is None
