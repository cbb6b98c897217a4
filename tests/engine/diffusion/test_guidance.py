"""Guidance combines branches as its equations say, in one merged batch."""

import pytest
import torch

from engine.diffusion.guidance import Guidance, GuidedDenoiser

T = torch.tensor


@pytest.mark.parametrize(
    ("guidance", "timestep", "branches"),
    [
        (Guidance(), 500, 1),
        (Guidance(scale=2.0), 500, 2),
        (Guidance(scale=2.0, interval=(0.2, 0.4)), 500, 1),
        (Guidance(scale=2.0, interval=(0.2, 0.5)), 500, 2),
        (Guidance(scale=1.0, lesion_scale=1.0), 500, 1),
        (Guidance(scale=1.0, lesion_scale=3.0), 500, 3),
        (Guidance(scale=2.0, lesion_scale=3.0, interval=(0.0, 0.1)), 500, 1),
    ],
)
def test_branches(guidance, timestep, branches):
    assert guidance.branches(timestep) == branches


def test_combinations_by_hand():
    assert Guidance(scale=3.0).combine([T(2.0)]) == 2.0
    assert Guidance(scale=3.0).combine([T(2.0), T(1.0)]) == 4.0  # 1 + 3 (2 - 1)
    # 1 + 3 (1.5 - 1) + 2 (2 - 1.5)
    assert Guidance(scale=3.0, lesion_scale=2.0).combine([T(2.0), T(1.0), T(1.5)]) == 3.5


def test_equal_scales_are_plain_guidance():
    outputs = [T(2.0), T(1.0), T(1.7)]
    three = Guidance(scale=3.0, lesion_scale=3.0).combine(outputs)
    assert float(three) == pytest.approx(float(Guidance(scale=3.0).combine(outputs[:2])))


class Recorder:
    """Stands for the denoiser: returns 1 per prompt value plus 10 per lesion value, and counts calls."""

    def __init__(self):
        self.batches = []

    def null_lesion(self, count, tokens):
        return torch.zeros(count, tokens, 1)

    def __call__(self, noisy, timestep, prompt, lesion, beta):
        assert timestep.tolist() == [400] * len(noisy)
        self.batches.append((len(noisy), beta))
        return torch.zeros_like(noisy) + (prompt[:, :1, :1] + 10 * lesion[:, :1, :1])[..., None]


@pytest.mark.parametrize(
    ("guidance", "batch", "expected"),
    [
        (Guidance(), 2, [12.0, 23.0]),
        (Guidance(scale=2.0), 4, [24.0, 46.0]),
        (Guidance(scale=2.0, lesion_scale=3.0), 6, [34.0, 66.0]),  # 2 p + 3 * 10 l
    ],
)
def test_one_merged_batch_with_the_right_conditions(guidance, batch, expected):
    model = Recorder()
    predict = GuidedDenoiser(
        model=model,
        guidance=guidance,
        prompt_BPW=T([2.0, 3.0])[:, None, None],
        null_prompt_PW=torch.zeros(1, 1),
        lesion_BTD=T([1.0, 2.0])[:, None, None],
        beta=0.5,
    )
    output = predict(torch.zeros(2, 1, 1, 1), 400)
    assert output.flatten().tolist() == expected
    assert model.batches == [(batch, 0.5)]
