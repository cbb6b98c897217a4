"""Synthetic images are normalised by themselves and leave no trace in the running statistics."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from engine.classifier.split_norm import Origin, SplitBatchNorm, split_batch_norm


def pair(make: Callable[[int], nn.Module]) -> tuple[nn.Module, nn.Module, Origin]:
    """A layer, a split one with the same weights, and what tells it a batch's origins."""
    origin = Origin()
    reference, twin = make(3), make(3)
    twin.load_state_dict(reference.state_dict())
    return reference, split_batch_norm(twin, origin), origin


def batch(count: int = 6) -> torch.Tensor:
    return torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 + 1


@pytest.mark.parametrize("make", [nn.BatchNorm2d, BatchNormAct2d])
def test_each_kind_is_normalised_as_if_alone(make: Callable[[int], nn.Module]) -> None:
    reference, subject, origin = pair(make)
    assert isinstance(subject, SplitBatchNorm)
    synthetic_B = torch.tensor([False, True, False, True, True, False])
    x = batch()
    origin.set(synthetic_B)
    y = subject(x)
    real = reference(x[~synthetic_B])
    for name, value in reference.state_dict().items():
        assert torch.equal(value, subject.state_dict()[name]), name
    assert torch.equal(y[~synthetic_B], real)
    assert torch.allclose(y[synthetic_B], reference(x[synthetic_B]), atol=1e-6)
    reference.load_state_dict(subject.state_dict())
    assert torch.equal(subject.eval()(x), reference.eval()(x))


@pytest.mark.parametrize("synthetic", [[], [0], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5]])
def test_a_batch_of_one_kind_or_nearly_is_plain_batch_norm(synthetic: list[int]) -> None:
    reference, subject, origin = pair(nn.BatchNorm2d)
    flags = torch.zeros(6, dtype=torch.bool)
    flags[synthetic] = True
    origin.set(flags)
    assert torch.equal(subject(batch()), reference(batch()))


def test_gradients_reach_both_kinds() -> None:
    _, subject, origin = pair(nn.BatchNorm2d)
    origin.set(torch.tensor([True, True, True, False, False, False]))
    x = batch().requires_grad_()
    (subject(x) ** 3).sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().sum(dim=(1, 2, 3)) > 0).all()
    assert subject.weight.grad.abs().sum() > 0


def test_names_stay() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(nn.BatchNorm2d(3)))
    names = list(model.state_dict())
    assert list(split_batch_norm(model, Origin()).state_dict()) == names
