"""Samplers on a distribution whose exact denoiser is known, start of partial runs, noise a sample."""

import math

import pytest
import torch

from engine.diffusion.process import LOWEST_LOG_SNR, NoiseProcess
from engine.diffusion.samplers.sampling import SamplerSettings, sample_noise
from engine.diffusion.samplers.table import SAMPLERS, SchedulerSampler, make_sampler
from engine.diffusion.schedule import scheduler_config
from engine.errors import ConfigError

MEAN, STD = 1.5, 0.5


def generators(count, seed=0):
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]


def exact(schedule, prediction):
    """The best possible denoiser of data N(MEAN, STD^2): E[x_0 | x_t] in closed form."""
    process = NoiseProcess(scheduler_config(schedule, prediction))

    def predict(noisy, timestep):
        signal, noise = process.signal(timestep), process.noise(timestep)
        variance = (signal * STD) ** 2 + noise**2
        clean = MEAN + signal * STD**2 / variance * (noisy - signal * MEAN)
        eps = (noisy - signal * clean) / noise
        return {"epsilon": eps, "sample": clean, "v": signal * eps - noise * clean}[prediction]

    return predict


def sampler_of(name, steps, schedule="scaled_linear", prediction="epsilon", **settings):
    config = scheduler_config(schedule, prediction)
    return make_sampler(name, SamplerSettings(scheduler_config=config, steps=steps, **settings))


def sample(name, steps, schedule="scaled_linear", prediction="epsilon", count=400, parent=None, **settings):
    draws = generators(count)
    noise = sample_noise((1, 4, 4), draws, "cpu")
    sampler = sampler_of(name, steps, schedule, prediction, **settings)
    return sampler.run(exact(schedule, prediction), noise, draws, parent)


STEPS = {"dpmpp": 16, "dpmpp_sde": 16, "unipc": 16, "probability_flow": 20, "ddim": 50}


@pytest.mark.slow
@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v"])
@pytest.mark.parametrize("name", sorted(SAMPLERS))
@pytest.mark.parametrize("schedule", ["scaled_linear", "cosine", "linear"])
def test_exact_denoiser_gives_the_data_distribution(name, schedule, prediction):
    values = sample(name, STEPS.get(name, 200), schedule, prediction, count=100)
    assert float(values.mean()) == pytest.approx(MEAN, abs=0.06)
    assert float(values.std()) == pytest.approx(STD, rel=0.08)


def test_few_steps_of_dpmpp_come_closer_to_the_limit_than_ddim():
    limit = sample("ddim", 1000, count=20)
    errors = {name: float((sample(name, 10, count=20) - limit).abs().mean()) for name in ("dpmpp", "ddim")}
    assert errors["dpmpp"] < 0.5 * errors["ddim"]


def test_the_adaptive_solver_reaches_the_same_flow():
    limit = sample("ddim", 1000, count=20)
    assert float((sample("probability_flow", 2, count=20, solver="adaptive") - limit).abs().mean()) < 5e-3


def test_unknown_sampler_lists_the_known():
    with pytest.raises(
        ConfigError,
        match=r"unknown sampler 'euler'; known: annealed_langevin, ddim, ddpm, dpmpp, dpmpp_sde, euler_m",
    ):
        sampler_of("euler", 4)


DIFFUSERS = sorted(name for name in SAMPLERS if isinstance(sampler_of(name, 4), SchedulerSampler))


@pytest.mark.parametrize("name", DIFFUSERS)
def test_steps_start_noisy_and_fall(name):
    scheduler, start = sampler_of(name, 16).scheduler()
    timesteps = scheduler.timesteps.tolist()
    assert (len(timesteps), start) == (16, 0)
    assert timesteps[0] >= 998
    assert timesteps == sorted(timesteps, reverse=True)


@pytest.mark.parametrize(("strength", "left"), [(1.0, 16), (0.5, 8), (0.25, 4), (0.01, 1)])
def test_strength_picks_the_timestep_at_that_share_of_the_range(strength, left):
    assert 16 - sampler_of("ddim", 16, strength=strength).scheduler()[1] == left


def first_timestep(name, steps, schedule="scaled_linear", **settings):
    """The timestep a sampler first asks the denoiser about."""
    asked = []
    predict = exact(schedule, "epsilon")

    def listen(noisy, timestep):
        asked.append(timestep)
        return predict(noisy, timestep)

    draws = generators(1)
    sampler_of(name, steps, schedule, **settings).run(
        listen, torch.zeros(1, 1, 2, 2), draws, torch.zeros(1, 1, 2, 2)
    )
    return asked[0]


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_strength_means_the_same_noise_in_every_sampler(name):
    assert first_timestep(name, 40, strength=0.6) == pytest.approx(600, abs=25)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_cosine_starts_where_x0_is_defined(name):
    process = NoiseProcess(scheduler_config("cosine", "epsilon"))
    first = first_timestep(name, 20, "cosine")
    assert -math.log(process.ratio(first)) >= LOWEST_LOG_SNR - 1e-9


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_editing_stays_near_the_parent_at_low_strength(name):
    parent = torch.full((50, 1, 4, 4), 2.0)
    near = sample(name, 20, count=50, strength=0.1, parent=parent)
    far = sample(name, 20, count=50, strength=0.9, parent=parent)
    # Langevin dynamics goes to equilibrium at each level and so forgets the parent, except for its neighbourhood
    reach = {"annealed_langevin": 0.7, "euler_maruyama": 0.45, "predictor_corrector": 0.45}.get(name, 0.3)
    assert float((near - 2.0).abs().mean()) < reach
    assert float(near.mean()) > float(far.mean())


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_a_sample_depends_on_its_own_seed_alone(name):
    def run(seeds):
        draws = [torch.Generator().manual_seed(seed) for seed in seeds]
        noise = sample_noise((2, 3, 3), draws, "cpu")
        return sampler_of(name, 5).run(exact("scaled_linear", "epsilon"), noise, draws)

    assert torch.equal(run([7, 8, 9])[0], run([3, 7, 1])[1])
    assert not torch.equal(run([7, 8])[0], run([8, 7])[0])
