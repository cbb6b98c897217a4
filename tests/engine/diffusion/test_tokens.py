"""Fusing levels and interpolating on the sphere, by hand."""

import math

import pytest
import torch

from engine.diffusion.tokens import fuse_levels, slerp


def test_mean_is_one_token_and_concat_keeps_all():
    levels = torch.tensor([[[1.0, 2.0], [3.0, 6.0]]])
    assert fuse_levels(levels, "mean").tolist() == [[[2.0, 4.0]]]
    assert torch.equal(fuse_levels(levels, "concat"), levels)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, (2, 0)), (1.0, (0, 2)), (0.5, (math.sqrt(2), math.sqrt(2)))]
)
def test_slerp_walks_the_circle(share, expected):
    first, second = torch.tensor([[[2.0, 0.0]]]), torch.tensor([[[0.0, 2.0]]])
    mixed = slerp(first, second, torch.tensor([share]))
    assert mixed.flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_slerp_of_parallel_levels_is_linear():
    first = torch.tensor([[[3.0, 4.0]]])
    assert slerp(first, first, torch.tensor([0.3])).flatten().tolist() == pytest.approx([3.0, 4.0])
    assert slerp(first, 2 * first, torch.tensor([0.5])).flatten().tolist() == pytest.approx([4.5, 6.0])


def test_slerp_goes_level_by_level_and_sample_by_sample():
    first = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]]])
    mixed = slerp(first, first.flip(1), torch.tensor([0.0, 1.0]))
    assert torch.allclose(mixed[0], first[0], atol=1e-6)
    assert torch.allclose(mixed[1], first[1].flip(0), atol=1e-6)
