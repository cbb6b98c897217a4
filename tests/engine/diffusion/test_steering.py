"""Gradient guidance: an exactly solvable case, hardness by hand, bound, interval, and divergence."""

import math

import pytest
import torch

from engine.diffusion.process import NoiseProcess
from engine.diffusion.samplers import sampling
from engine.diffusion.samplers.sampling import SamplerSettings
from engine.diffusion.samplers.table import make_sampler
from engine.diffusion.schedule import scheduler_config
from engine.diffusion.steering import Steering, hardness, steered
from engine.errors import StageError

LOGITS = torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]]))
LABELS = torch.tensor([0, 2])


def test_hardness_by_hand():
    assert hardness(LOGITS, LABELS, "loss").tolist() == pytest.approx([-math.log(0.7), -math.log(0.3)])
    assert hardness(LOGITS, LABELS, "margin").tolist() == pytest.approx(
        [math.log(0.2 / 0.7), math.log(0.6 / 0.3)]
    )
    entropy = -sum(p * math.log(p) for p in (0.7, 0.2, 0.1))
    assert hardness(LOGITS, LABELS, "entropy")[0].item() == pytest.approx(entropy)


def linear(slope):
    """A classifier of two classes with log p(1) - log p(0) = slope . x; far on one side its log p is linear."""

    def logits(pixels):
        value = (pixels * slope).sum(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(value), value], dim=1)

    return logits


@pytest.mark.slow
@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v"])
@pytest.mark.parametrize("sampler", ["ddim", "dpmpp", "euler_maruyama", "probability_flow"])
def test_a_gaussian_tilted_by_a_linear_score_moves_by_exactly_that(sampler, prediction, monkeypatch):
    """Data N(0, I) times exp(w . x) is N(w, I). A margin of a linear classifier is linear: U = scale * slope . x."""
    config = scheduler_config("scaled_linear", prediction)
    process = NoiseProcess(config)
    slope = torch.tensor([0.6, -0.4]).view(1, 2, 1, 1)

    def denoiser(x, timestep):  # E[x_0 | x] = signal x for unit-variance data
        return process.prediction_of(process.signal(timestep) * x, x, timestep)

    steering = Steering(
        decode=lambda latent: latent,
        label_B=torch.zeros(4000, dtype=torch.long),
        opponent=linear(slope),
        adversarial_scale=1.0,
        kind="margin",
        bound=10.0,
    )
    generator = torch.Generator().manual_seed(0)

    def drawn_together(shape, generators, _device):
        """The same noise from one generator: four thousand of them take seconds."""
        return torch.randn(len(generators), *shape, generator=generator)

    monkeypatch.setattr(sampling, "sample_noise", drawn_together)
    noise = torch.randn(4000, 2, 1, 1, generator=generator)
    steps = 100 if sampler in ("dpmpp", "probability_flow") else 250
    runner = make_sampler(sampler, SamplerSettings(scheduler_config=config, steps=steps))
    made = runner.run(steered(denoiser, process, steering), noise, [generator] * 4000)
    assert made.mean(dim=0).flatten().tolist() == pytest.approx([0.6, -0.4], abs=0.06)
    assert made.std(dim=0).flatten().tolist() == pytest.approx([1.0, 1.0], abs=0.05)


def steering_of(**changes):
    settings = {"label_B": torch.tensor([1, 0]), "opponent": linear(1.0), "adversarial_scale": 1.0, **changes}
    return Steering(decode=lambda latent: latent, **settings)


CLEAN = torch.full((2, 3, 4, 4), 0.1)


def test_the_adversary_pushes_away_from_the_class_and_the_judge_pulls_back():
    push = steering_of().shift(CLEAN, 1.0, 500)
    assert (push[0] < 0).all()
    assert (push[1] > 0).all()
    pull = steering_of(judge=linear(1.0), opponent=None, classifier_scale=1.0, adversarial_scale=0.0).shift(
        CLEAN, 1.0, 500
    )
    assert torch.allclose(pull, -push)
    even = steering_of(judge=linear(1.0), keep=1.0).shift(CLEAN, 1.0, 500)
    assert torch.allclose(even, torch.zeros_like(even))


def test_no_step_exceeds_the_bound_and_less_noise_means_smaller_steps():
    hard = steering_of(adversarial_scale=1e6, bound=0.25).shift(CLEAN, 1.0, 500)
    assert hard.square().mean(dim=(1, 2, 3)).sqrt().tolist() == pytest.approx([0.25, 0.25])
    some, less = (steering_of(bound=1e9).shift(CLEAN, noise, 500) for noise in (1.0, 0.5))
    assert torch.allclose(less, some / 4)


@pytest.mark.parametrize(("timestep", "acts"), [(100, False), (300, True), (700, True), (900, False)])
def test_it_acts_inside_its_interval_only(timestep, acts):
    shift = steering_of(interval=(0.2, 0.8)).shift(CLEAN, 1.0, timestep)
    assert bool((shift != 0).any()) is acts


def test_a_gradient_that_is_not_finite_names_the_step():
    def broken(pixels):
        return torch.stack([pixels.sum(dim=(1, 2, 3)), (pixels.sum(dim=(1, 2, 3)) - 1e9).sqrt()], dim=1)

    with pytest.raises(StageError, match=r"not finite at timestep 640; lower synthesis\.adversarial_scale"):
        steering_of(opponent=broken).shift(CLEAN, 1.0, 640.0)


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v"])
def test_without_a_shift_the_prediction_stays(prediction):
    process = NoiseProcess(scheduler_config("scaled_linear", prediction))
    x, out = torch.randn(2, 2, 3, 3, 3).unbind()
    resting = steered(lambda _x, _t: out, process, steering_of(interval=(0.0, 0.1)))
    assert torch.allclose(resting(x, 500.0), out, atol=1e-5)
