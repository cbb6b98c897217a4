"""Precision, recall, density, coverage on a line, by hand; the inception score by hand and against torchmetrics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from engine.evaluation.fidelity.manifold import inception_score, manifold


def column(*values: float) -> np.ndarray:
    return np.array(values)[:, None]


def test_by_hand_on_a_line() -> None:
    # k = 1. Real 0, 1, 10: radii 1, 1, 9. Synthetic 0.5, 3, 30: radii 2.5, 2.5, 27.
    found = manifold(column(0, 1, 10), column(0.5, 3, 30), k=1)
    assert found is not None
    assert found.precise_S.tolist() == [
        1,
        1,
        0,
    ]  # 0.5 in the balls of 0 and 1; 3 in that of 10 (7 <= 9); 30 in none
    assert found.density_S.tolist() == [2, 1, 0]  # 10 - 0.5 = 9.5 > 9
    assert found.recalled_R.tolist() == [1, 1, 1]  # 0 and 1 by 0.5 and 3, 10 by 30 (20 <= 27)
    assert found.covered_R.tolist() == [1, 1, 1]


def test_the_k_th_neighbour_is_another_image_even_among_twins() -> None:
    found = manifold(column(0, 0, 5), column(0, 4, 5), k=1)
    assert found is not None
    assert found.precise_S.tolist() == [
        1,
        1,
        1,
    ]  # twins have radius 0, which holds their place; 5's radius is 5
    assert found.density_S.tolist() == [3, 1, 1]


def test_too_few_images_have_no_manifold() -> None:
    assert manifold(np.zeros((5, 2)), np.zeros((50, 2)), k=5) is None


def test_equal_sets_agree_and_far_sets_do_not() -> None:
    rng = np.random.default_rng(0)
    real = rng.normal(size=(200, 4))
    near, far = (manifold(real, rng.normal(shift, 1.0, size=(200, 4))) for shift in (0.0, 20.0))
    assert near is not None and far is not None
    assert near.precise_S.mean() > 0.9 and near.covered_R.mean() > 0.9
    assert near.density_S.mean() == pytest.approx(1.0, abs=0.15)
    assert far.precise_S.sum() == far.density_S.sum() == far.recalled_R.sum() == far.covered_R.sum() == 0


def test_inception_score_by_hand() -> None:
    assert inception_score(np.eye(4)) == pytest.approx(4.0)  # sure of each label, all labels
    assert inception_score(np.full((9, 4), 0.25)) == pytest.approx(1.0)
    prob = np.array([[0.9, 0.1], [0.3, 0.7]])
    marginal = [0.6, 0.4]
    by_hand = sum(p * math.log(p / m) for row in prob for p, m in zip(row, marginal, strict=True)) / 2
    assert inception_score(prob) == pytest.approx(math.exp(by_hand))
    assert inception_score(prob, np.array([2.0, 0.0])) == pytest.approx(1.0)


def test_inception_score_agrees_with_torchmetrics() -> None:
    from torchmetrics.image.inception import InceptionScore

    class Flat(torch.nn.Module):
        num_features = 5

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1).float()

    logits = torch.randn(64, 5, generator=torch.Generator().manual_seed(0)) * 2
    theirs = InceptionScore(feature=Flat(), splits=1)
    theirs.update(logits[:, :, None, None])
    assert inception_score(torch.softmax(logits.double(), 1).numpy()) == pytest.approx(
        float(theirs.compute()[0]), rel=1e-5
    )
