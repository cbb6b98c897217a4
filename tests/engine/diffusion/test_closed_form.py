"""Every sampler on a correlated Gaussian whose score is known: mean and covariance converge, at the order of theory.

With the exact denoiser of a Gaussian every sampler is affine in all the noise it draws. So one sample is run for each
unit of noise (start and every later draw), all else being zero: the covariance of the output is the sum of the outer
products, exactly, with no Monte-Carlo error. All of it in float64, from the exact marginal, without clipping.
"""

import itertools
import math

import diffusers.schedulers.scheduling_ddpm as diffusers_ddpm
import diffusers.schedulers.scheduling_dpmsolver_multistep as diffusers_dpm
import numpy as np
import pytest
import torch

from engine.diffusion.process import NoiseProcess
from engine.diffusion.samplers import sampling
from engine.diffusion.samplers.sampling import SamplerSettings
from engine.diffusion.samplers.table import SAMPLERS, make_sampler
from engine.diffusion.schedule import add_noise, alphas_bar, prediction_target, scheduler_config

MEAN = torch.tensor([1.0, -0.5], dtype=torch.float64)
COVARIANCE = torch.tensor([[0.8, 0.3], [0.3, 0.4]], dtype=torch.float64)
DIMENSION = 2


def denoiser(process):
    """E[x_0 | x] = m + C a (a^2 C + b^2)^-1 (x - a m) of data N(m, C), as the prediction the process asks for."""

    def predict(x, timestep):
        a, b = process.signal(timestep), process.noise(timestep)
        inside = a**2 * COVARIANCE + b**2 * torch.eye(2, dtype=torch.float64)
        gain = a * COVARIANCE @ torch.linalg.inv(inside)
        flat = x.reshape(len(x), 2)
        clean = (MEAN + (flat - a * MEAN) @ gain.T).reshape(x.shape)
        eps = (x - a * clean) / b
        return {"epsilon": eps, "sample": clean, "v": a * eps - b * clean}[process.prediction]

    return predict


class UnitNoise:
    """Stands in for all later draws: in draw k, unit noise goes to the two samples reserved for it."""

    def __init__(self, samples):
        self.samples = samples
        self.drawn = 0

    def __call__(self, *_args, **_kwargs):
        noise = torch.zeros(self.samples, 2, 1, 1, dtype=torch.float64)
        for axis in range(DIMENSION):
            noise[1 + DIMENSION * (self.drawn + 1) + axis, axis] = 1.0
        self.drawn += 1
        return noise


def moments(name, steps, monkeypatch, schedule="scaled_linear", prediction="epsilon", **settings):
    """Exact mean and covariance of a sampler's output, started from the exact marginal of its first timestep."""
    config = scheduler_config(schedule, prediction)
    process = NoiseProcess(config)
    asked = SamplerSettings(scheduler_config=config, steps=steps, **settings)
    sampler = make_sampler(name, asked)
    first = (
        sampler.scheduler()[0].timesteps[0].item() if hasattr(sampler, "scheduler") else process.start(1.0)
    )
    a, b = process.signal(first), process.noise(first)
    root = torch.linalg.cholesky(a**2 * COVARIANCE + b**2 * torch.eye(2, dtype=torch.float64))
    draws = {"annealed_langevin": steps * asked.langevin_inner, "predictor_corrector": 2 * steps}.get(
        name, steps
    )
    unit = UnitNoise(1 + DIMENSION * (draws + 1))
    start = (a * MEAN).repeat(unit.samples, 1)  # sample 0 has no noise at all: the mean
    start[1 : 1 + DIMENSION] += root.T
    with monkeypatch.context() as patch:
        patch.setattr(sampling, "sample_noise", unit)
        patch.setattr(diffusers_ddpm, "randn_tensor", unit)
        patch.setattr(diffusers_dpm, "randn_tensor", unit)
        flow = sampler.run(denoiser(process), start.reshape(-1, 2, 1, 1), [torch.Generator()] * unit.samples)
    flat = flow.reshape(-1, 2)
    spread = flat[1:] - flat[0]
    return flat[0].numpy(), (spread.T @ spread).numpy()


def error(name, steps, monkeypatch, **settings):
    """Largest error in mean or covariance; the truth of ODE and SDE includes their last denoising step."""
    mean, covariance = moments(name, steps, monkeypatch, **settings)
    true = COVARIANCE.numpy()
    if name in ("euler_maruyama", "predictor_corrector", "probability_flow", "annealed_langevin"):
        ratio = NoiseProcess(scheduler_config(settings.get("schedule", "scaled_linear"), "epsilon")).ratio(
            0.0
        )
        true = true @ np.linalg.inv(true + ratio**2 * np.eye(2)) @ true  # Var E[x_0 | y] at the lowest noise
    return max(np.abs(mean - MEAN.numpy()).max(), np.abs(covariance - true).max())


ENOUGH = {"dpmpp": 128, "dpmpp_sde": 128, "unipc": 128, "probability_flow": 128, "annealed_langevin": 800}
"""Steps until a sampler is right; the others take 500. A run costs their square: each step's noise is a sample."""


@pytest.mark.slow
@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v"])
@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_moments_converge_to_the_truth(name, prediction, monkeypatch):
    steps = ENOUGH.get(name, 500)
    few, many = (error(name, n, monkeypatch, prediction=prediction) for n in (max(4, steps // 16), steps))
    assert many < few / 4
    assert many < 0.015


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["linear", "cosine"])  # scaled_linear is that of the test above
@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_every_schedule_is_sampled_right(name, schedule, monkeypatch):
    assert error(name, ENOUGH.get(name, 500) // 2, monkeypatch, schedule=schedule) < 0.03


@pytest.mark.parametrize("steps", [60, 128, 150])
def test_ddim_is_right_where_its_steps_do_not_divide_the_training_steps(steps, monkeypatch):
    mean, _ = moments("ddim", steps, monkeypatch)
    assert np.abs(mean - MEAN.numpy()).max() < 5e-3


ORDER = {
    "ddim": 1,
    "ddpm": 1,
    "euler_maruyama": 1,
    "dpmpp_sde": 1,
    "dpmpp": 2,
    "unipc": 2,
    "probability_flow": 2,
}


@pytest.mark.parametrize("name", sorted(ORDER))
def test_the_error_falls_at_the_theoretical_order(name, monkeypatch):
    # diffusers asks at rounded timesteps, which leaves an error of about 1e-3 however many steps there are
    steps = (8, 16, 32) if name.startswith("dpmpp") or ORDER[name] == 2 else (60, 120, 240)
    errors = [error(name, n, monkeypatch) for n in steps]
    slopes = [math.log2(before / after) for before, after in itertools.pairwise(errors)]
    print(name, errors, slopes)
    assert np.mean(slopes) > ORDER[name] - 0.35


def test_the_adaptive_flow_holds_its_tolerance(monkeypatch):
    loose, tight = (
        error("probability_flow", 2, monkeypatch, solver="adaptive", tolerance=t) for t in (1e-2, 1e-5)
    )
    assert tight < 1e-4 < loose


def test_denoising_score_matching_is_the_weighted_noise_loss():
    """Thesis Eq. 2.8: E |s - grad log q(x_t | x_0)|^2 = E |eps_hat - eps|^2 / (1 - abar), for any network."""
    generator = torch.Generator().manual_seed(0)
    config = scheduler_config("scaled_linear", "epsilon")
    abar = alphas_bar(config).double()[torch.randint(0, 1000, (64,), generator=generator)]
    clean, eps, guess = (torch.randn(64, 2, 4, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    noisy = add_noise(clean, eps, abar)
    wide = abar[:, None, None, None]
    score = -guess / (1 - wide).sqrt()
    grad_log_q = -(noisy - wide.sqrt() * clean) / (1 - wide)
    matching = ((score - grad_log_q) ** 2).sum(dim=(1, 2, 3))
    weighted = ((guess - prediction_target(clean, eps, abar, "epsilon")) ** 2).sum(dim=(1, 2, 3)) / (1 - abar)
    assert torch.allclose(matching, weighted, rtol=1e-9)


def test_the_process_goes_through_the_table_and_back():
    config = scheduler_config("scaled_linear", "v")
    process = NoiseProcess(config)
    abar_T = alphas_bar(config).double()
    for t in (0, 1, 500, 999):
        assert process.signal(t) ** 2 == pytest.approx(float(abar_T[t]), rel=1e-6)
        assert process.timestep(process.ratio(t)) == pytest.approx(t, abs=1e-6)
    assert (process.signal(-1), process.noise(-1)) == (1.0, 0.0)
    assert process.timestep(0.0) == -1.0
    assert process.timestep(1e9) == 999.0
    x, out = torch.randn(3, 2, 2, 2), torch.randn(3, 2, 2, 2)
    clean, eps = process.clean_and_noise(out, x, 321.5)
    assert torch.allclose(process.signal(321.5) * clean + process.noise(321.5) * eps, x, atol=1e-5)
