"""Targets and losses by hand: smoothed classes, soft labels as they are, weights over the batch's size."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from engine.classifier.targets import batch_loss, target_probabilities

LOGITS = torch.tensor([[0.0, math.log(3.0)], [math.log(4.0), 0.0]])
"""Probabilities (1/4, 3/4) and (4/5, 1/5)."""
LABEL = torch.tensor([0, 0])


def test_hard_rows_are_smoothed_and_soft_ones_are_not() -> None:
    soft = np.array([[np.nan, np.nan], [0.25, 0.75]])
    found = target_probabilities(np.array([1, 0]), soft, 0.1)
    assert found.tolist() == [pytest.approx([0.05, 0.95]), [0.25, 0.75]]


def test_the_cross_entropy_of_soft_labels() -> None:
    target = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    by_hand = (-0.5 * math.log(1 / 4) - 0.5 * math.log(3 / 4) - math.log(4 / 5)) / 2
    assert batch_loss(LOGITS, LABEL, 0.3, target).item() == pytest.approx(by_hand), (
        "smoothing is in the target"
    )


@pytest.mark.parametrize("soft", [False, True])
def test_weights_multiply_and_the_size_of_the_batch_divides(soft: bool) -> None:
    target = F.one_hot(LABEL, 2).float() if soft else None
    weight = torch.tensor([2.0, 0.5])
    by_hand = (2.0 * -math.log(1 / 4) + 0.5 * -math.log(4 / 5)) / 2
    assert batch_loss(LOGITS, LABEL, 0.0, target, weight).item() == pytest.approx(by_hand)


def test_one_hot_targets_and_weights_of_1_are_what_classes_are() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, label = torch.randn(9, 4, generator=generator), torch.arange(9) % 4
    plain = F.cross_entropy(logits, label, label_smoothing=0.05)
    nothing_soft = np.full((9, 4), np.nan)
    target = torch.from_numpy(target_probabilities(label.numpy(), nothing_soft, 0.05)).float()
    assert torch.equal(batch_loss(logits, label, 0.05), plain), (
        "the same code and bits without labels and weights"
    )
    for given in ({"target_BC": target}, {"weight_B": torch.ones(9)}):
        assert batch_loss(logits, label, 0.05, **given).item() == pytest.approx(plain.item(), rel=1e-6)
