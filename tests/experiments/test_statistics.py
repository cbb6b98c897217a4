"""The simulated null studies: they run through the study's own code and leave coverage and rejection rates."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import statistics
from experiments.lib import keeping

RULES = (
    "paired t, no correlation",
    "t by training lesions in common alone",
    "corrected t over folds",
    "corrected resampled t",
)
"""From the narrowest to the widest."""


def test_every_design_leaves_its_rates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["statistics.py", "--studies", "2", "--draws", "20"])
    statistics.main()
    found = json.loads((tmp_path / "statistics" / "result.json").read_text())
    assert list(found["designs"]) == ["shared", "folds", "pair", *statistics.SETS_SIZES]
    shared, folds, pair, *sets = found["designs"].values()
    for rows in sets:
        t = [rows[f"malignant.auc: {rule}"]["width"] for rule in RULES]
        assert t == sorted(t)
    assert shared["malignant.sensitivity: paired t over training sets"]["n"] == 2
    assert "malignant.sensitivity: corrected resampled t" in folds
    assert 0.0 <= pair["clustered DeLong"]["covered"] <= 1.0
    assert pair["clustered sign-flip"].keys() == {"n", "rejected"}, "a test without an interval"


def test_the_two_arms_are_equally_good() -> None:
    """Both look at halves of the same make: over many lesions the truth is found as often by one as by the other."""
    lesions = statistics.Lesions(np.random.default_rng(0), 6000, "x")
    area = {}
    for arm, half in lesions.halves().items():
        score = half.sum(axis=1)
        area[arm] = score[lesions.label_N == 1].mean() - score[lesions.label_N == 0].mean()
    assert area["real"] == pytest.approx(area["hard"], abs=0.3)
    assert area["real"] == pytest.approx(statistics.TELLING * statistics.HALF, abs=0.3)
