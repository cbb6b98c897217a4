"""The forward process and the prediction targets, by hand and against diffusers."""

import math

import pytest
import torch
from diffusers import DDPMScheduler

from engine.diffusion.schedule import (
    add_noise,
    alphas_bar,
    min_snr_weight,
    prediction_target,
    scheduler_config,
)


def one(value):
    return torch.tensor([[[[value]]]])


@pytest.mark.parametrize(
    ("schedule", "first", "last"),
    [("linear", 0.9999, 4.0e-5), ("scaled_linear", 0.99915, 4.66e-3), ("cosine", 0.99996, 2.4e-9)],
)
def test_ends_of_the_schedules(schedule, first, last):
    abar = alphas_bar(scheduler_config(schedule, "epsilon"))
    assert abar.shape == (1000,)
    assert bool((abar[1:] < abar[:-1]).all())
    assert float(abar[0]) == pytest.approx(first, abs=2e-5)
    assert float(abar[-1]) == pytest.approx(last, rel=0.05)


def test_cosine_is_nichol_and_dhariwals():
    def f(share):
        return math.cos((share + 0.008) / 1.008 * math.pi / 2) ** 2

    abar = alphas_bar(scheduler_config("cosine", "v"))
    assert float(abar[499]) == pytest.approx(f(0.5) / f(0.0), rel=1e-4)


def test_forward_process_by_hand():
    assert float(add_noise(one(2.0), one(-1.0), torch.tensor([0.64]))) == pytest.approx(0.8 * 2 - 0.6)


@pytest.mark.parametrize(
    ("prediction", "expected"), [("epsilon", -1.0), ("sample", 2.0), ("v", -0.8 - 0.6 * 2)]
)
def test_targets_by_hand(prediction, expected):
    assert float(prediction_target(one(2.0), one(-1.0), torch.tensor([0.64]), prediction)) == pytest.approx(
        expected
    )


def test_v_agrees_with_diffusers():
    scheduler = DDPMScheduler(**scheduler_config("linear", "v"))
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(3, 2, 4, 4, generator=generator) for _ in range(2))
    steps = torch.tensor([0, 500, 999])
    ours = prediction_target(clean, noise, scheduler.alphas_cumprod[steps], "v")
    assert torch.allclose(ours, scheduler.get_velocity(clean, noise, steps), atol=1e-6)


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [("epsilon", [1.0, 0.5]), ("sample", [1.0, 4.5]), ("v", [0.5, 4.5 / 10])],
)
def test_min_snr_by_hand(prediction, expected):
    abar = torch.tensor([0.5, 0.9])  # SNR 1 and 9, gamma 4.5
    assert min_snr_weight(abar, 4.5, prediction).tolist() == pytest.approx(expected)
    assert min_snr_weight(abar, None, prediction).tolist() == [1.0, 1.0]
