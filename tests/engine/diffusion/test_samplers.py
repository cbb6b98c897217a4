"""Samplers on a distribution whose exact denoiser is known, start of partial runs, noise a sample."""

import math

import pytest
import torch

from engine.diffusion.samplers import (
    LOWEST_LOG_SNR,
    SAMPLERS,
    make_scheduler,
    run_sampler,
    sample_noise,
    start_index,
)
from engine.diffusion.schedule import alphas_bar, scheduler_config
from engine.errors import ConfigError

MEAN, STD = 1.5, 0.5


def generators(count, seed=0):
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]


def exact(schedule, prediction):
    """The best possible denoiser of data N(MEAN, STD^2): E[x_0 | x_t] in closed form."""
    abar_T = alphas_bar(scheduler_config(schedule, prediction))

    def predict(noisy, timestep):
        abar = float(abar_T[timestep])
        signal, noise = math.sqrt(abar), math.sqrt(1 - abar)
        variance = abar * STD**2 + 1 - abar
        clean = MEAN + signal * STD**2 / variance * (noisy - signal * MEAN)
        eps = (noisy - signal * clean) / noise
        return {"epsilon": eps, "sample": clean, "v": signal * eps - noise * clean}[prediction]

    return predict


def sample(name, steps, schedule="scaled_linear", prediction="epsilon", count=400, strength=1.0, parent=None):
    scheduler = make_scheduler(name, scheduler_config(schedule, prediction), steps)
    draws = generators(count)
    noise = sample_noise((1, 4, 4), draws, "cpu")
    start = start_index(scheduler, strength)
    return run_sampler(exact(schedule, prediction), scheduler, start, noise, draws, parent)


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v"])
@pytest.mark.parametrize(("name", "steps"), [("dpmpp", 16), ("unipc", 16), ("ddim", 50), ("ddpm", 200)])
@pytest.mark.parametrize("schedule", ["scaled_linear", "cosine"])
def test_exact_denoiser_gives_the_data_distribution(name, steps, schedule, prediction):
    values = sample(name, steps, schedule, prediction, count=100)
    assert float(values.mean()) == pytest.approx(MEAN, abs=0.06)
    assert float(values.std()) == pytest.approx(STD, rel=0.08)


def test_few_steps_of_dpmpp_come_closer_to_the_limit_than_ddim():
    limit = sample("ddim", 1000, count=20)
    errors = {name: float((sample(name, 10, count=20) - limit).abs().mean()) for name in ("dpmpp", "ddim")}
    assert errors["dpmpp"] < 0.5 * errors["ddim"]


def test_unknown_sampler_lists_the_known():
    with pytest.raises(ConfigError, match=r"unknown sampler 'euler'; known: ddim, ddpm, dpmpp, unipc"):
        make_scheduler("euler", scheduler_config("linear", "epsilon"), 4)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_steps_start_noisy_and_fall(name):
    scheduler = make_scheduler(name, scheduler_config("scaled_linear", "epsilon"), 16)
    timesteps = scheduler.timesteps.tolist()
    assert len(timesteps) == 16
    assert timesteps[0] >= 998
    assert timesteps == sorted(timesteps, reverse=True)


@pytest.mark.parametrize(("strength", "left"), [(1.0, 16), (0.5, 8), (0.25, 4), (0.01, 1)])
def test_strength_picks_the_timestep_at_that_share_of_the_range(strength, left):
    scheduler = make_scheduler("ddim", scheduler_config("scaled_linear", "epsilon"), 16)
    assert 16 - start_index(scheduler, strength) == left


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_strength_means_the_same_noise_in_every_sampler(name):
    scheduler = make_scheduler(name, scheduler_config("scaled_linear", "epsilon"), 40)
    first = float(scheduler.timesteps[start_index(scheduler, 0.6)])
    assert first == pytest.approx(600, abs=25)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_cosine_starts_where_x0_is_defined(name):
    config = scheduler_config("cosine", "epsilon")
    scheduler = make_scheduler(name, config, 20)
    abar = alphas_bar(config)[int(scheduler.timesteps[start_index(scheduler, 1.0)])]
    assert 0.5 * math.log(abar / (1 - abar)) >= LOWEST_LOG_SNR


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_editing_stays_near_the_parent_at_low_strength(name):
    parent = torch.full((50, 1, 4, 4), 2.0)
    near = sample(name, 20, count=50, strength=0.1, parent=parent)
    far = sample(name, 20, count=50, strength=0.9, parent=parent)
    assert float((near - 2.0).abs().mean()) < 0.3
    assert float(near.mean()) > float(far.mean())


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_a_sample_depends_on_its_own_seed_alone(name):
    def run(seeds):
        scheduler = make_scheduler(name, scheduler_config("scaled_linear", "epsilon"), 5)
        draws = [torch.Generator().manual_seed(seed) for seed in seeds]
        noise = sample_noise((2, 3, 3), draws, "cpu")
        return run_sampler(exact("scaled_linear", "epsilon"), scheduler, 0, noise, draws)

    assert torch.equal(run([7, 8, 9])[0], run([3, 7, 1])[1])
    assert not torch.equal(run([7, 8])[0], run([8, 7])[0])
