"""KID and FID by hand and against torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.evaluation.fidelity.distances import frechet_distance, polynomial_mmd


def test_mmd_by_hand() -> None:
    # F = 1, k(x, y) = (xy + 1)^3: within {0, 1}: 1; within {1, 2}: 27; across: (1 + 1 + 8 + 27) / 4.
    real, synthetic = np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]])
    assert polynomial_mmd(real, synthetic) == pytest.approx(1 + 27 - 2 * 37 / 4)


def test_mmd_agrees_with_torchmetrics() -> None:
    from torchmetrics.image.kid import poly_mmd

    rng = np.random.default_rng(1)
    real, synthetic = rng.normal(size=(40, 6)), rng.normal(0.5, 1.2, size=(40, 6))
    theirs = float(poly_mmd(torch.tensor(real), torch.tensor(synthetic)))
    assert polynomial_mmd(real, synthetic) == pytest.approx(theirs, rel=1e-9)


def test_mmd_is_unbiased_at_zero_for_one_distribution() -> None:
    rng = np.random.default_rng(2)
    values = [polynomial_mmd(rng.normal(size=(20, 3)), rng.normal(size=(20, 3))) for _ in range(300)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))
    assert min(values) < 0 < max(values)


def test_frechet_of_shifted_sets_is_the_squared_shift() -> None:
    rows = np.random.default_rng(5).normal(size=(30, 3))
    assert frechet_distance(rows, rows + np.array([3.0, 0.0, 4.0])) == pytest.approx(25.0)
    assert frechet_distance(rows, rows) == pytest.approx(0.0, abs=1e-9)


def test_frechet_of_one_feature_by_hand() -> None:
    # means 1 and 4, sample variances 2 and 8: (1 - 4)^2 + 2 + 8 - 2 sqrt(16).
    assert frechet_distance(np.array([[0.0], [2.0]]), np.array([[2.0], [6.0]])) == pytest.approx(
        9 + 2 + 8 - 8
    )


def test_frechet_agrees_with_torchmetrics() -> None:
    from torchmetrics.image.fid import _compute_fid

    rng = np.random.default_rng(6)
    real, synthetic = rng.normal(size=(80, 5)), rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5)) + 0.3
    moments = [torch.tensor(v) for a in (real, synthetic) for v in (a.mean(axis=0), np.cov(a, rowvar=False))]
    assert frechet_distance(real, synthetic) == pytest.approx(float(_compute_fid(*moments)), rel=1e-6)


@pytest.mark.parametrize("function", [polynomial_mmd, frechet_distance])
@pytest.mark.parametrize(
    ("real", "synthetic", "message"),
    [
        (np.zeros((3, 2)), np.zeros((3, 4)), "of one width"),
        (np.zeros((1, 2)), np.zeros((3, 2)), "1 real and 3 synthetic"),
        (np.zeros(3), np.zeros((3, 2)), "of one width"),
    ],
)
def test_bad_sets_are_refused(function, real, synthetic, message) -> None:
    with pytest.raises(ValueError, match=message):
        function(real, synthetic)
