"""Balanced accuracy of many weightings at once is scikit-learn's, one by one."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from experiments.lib.reconstructions import balanced_accuracy


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label")
def test_balanced_accuracy_of_each_weighting() -> None:
    rng = np.random.default_rng(0)
    label_N, predicted_N = rng.integers(0, 5, 60), rng.integers(0, 7, 60)
    weights_BN = rng.integers(0, 3, (20, 60)).astype(float)
    weights_BN[3, label_N == 2] = 0.0  # a draw without a class
    expected = [balanced_accuracy_score(label_N, predicted_N, sample_weight=w) for w in weights_BN]
    assert balanced_accuracy(label_N, predicted_N, 7, weights_BN) == pytest.approx(expected, abs=1e-12)
