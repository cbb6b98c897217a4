"""The reliability diagram: bins by hand, the same calibration error as the metric, and a chart with words."""

from __future__ import annotations

import numpy as np
import pytest

from engine.evaluation.scoring import ScoredSplit, score_split
from engine.report.blocks.calibration import calibration_block, calibration_error, reliability
from engine.types import strings


def test_bins_by_hand() -> None:
    prob = np.array([[0.9, 0.1], [0.95, 0.05], [0.3, 0.7]])
    bins = reliability(prob, np.array([0, 1, 1]), bins=10)
    assert [(b.n, b.accuracy) for b in bins] == [(1, 1.0), (1, 1.0), (1, 0.0)]
    assert [b.confidence for b in bins] == pytest.approx([0.7, 0.9, 0.95])
    assert calibration_error(bins) == pytest.approx((0.3 + 0.1 + 0.95) / 3)


def test_the_error_is_the_metrics_own() -> None:
    rng = np.random.default_rng(0)
    prob, label = rng.dirichlet(np.ones(4), 300), rng.integers(0, 4, 300)
    names = strings([str(i) for i in range(300)])
    split = ScoredSplit(
        prob_NC=prob,
        label_N=label,
        lesion_id=names,
        group_N=names,
        classes=("a", "b", "c", "d"),
    )
    figure = score_split(split, draws=10, rng=rng)["ece"]["value"]
    assert calibration_error(reliability(prob, label)) == pytest.approx(figure)


def test_the_chart_says_what_it_shows() -> None:
    rng = np.random.default_rng(1)
    block = calibration_block({"hard": (rng.dirichlet(np.ones(3), 200), rng.integers(0, 3, 200))})
    assert block is not None
    assert 'role="img"' in block["chart"] and "arm hard: calibration error 0." in block["chart"]
    assert sum(row["n"] for row in block["rows"]) == 200
    assert calibration_block({}) is None
