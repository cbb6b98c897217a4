"""Likelihood by the probability-flow ODE against Gaussians whose density is known."""

import math

import numpy as np
import pytest
import torch

from engine.diffusion.codec import LatentCodec
from engine.diffusion.likelihood import Likelihood, bits_per_dimension
from engine.diffusion.process import NoiseProcess
from engine.diffusion.schedule import scheduler_config

STD = 0.7


def gaussian(process, std):
    """The exact denoiser of data N(0, std^2), each value on its own."""

    def predict(x, timestep):
        a, b = process.signal(timestep), process.noise(timestep)
        clean = a * std**2 / (a**2 * std**2 + b**2) * x
        return process.prediction_of(clean, x, timestep)

    return predict


@pytest.mark.parametrize("prediction", ["epsilon", "v", "sample"])
def test_the_density_of_a_gaussian(prediction):
    process = NoiseProcess(scheduler_config("scaled_linear", prediction))
    model = Likelihood(predict=gaussian(process, STD), process=process, tolerance=1e-5)
    latent = torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * STD
    found = model.log_density(latent, torch.Generator().manual_seed(1))
    variance = STD**2 + process.ratio(0.0) ** 2
    true = -0.5 * ((latent**2).flatten(1).sum(dim=1) / variance + 32 * math.log(2 * math.pi * variance))
    # the prior takes unit variance where the flow ends with STD^2 + s^2: a term of order (1 - STD^2) / s^2
    assert found == pytest.approx(true.numpy(), abs=0.2)
    wide = Likelihood(predict=gaussian(process, 1.0), process=process, tolerance=1e-5)
    exact = wide.log_density(latent, torch.Generator().manual_seed(1))
    variance = 1 + process.ratio(0.0) ** 2
    true = -0.5 * ((latent**2).flatten(1).sum(dim=1) / variance + 32 * math.log(2 * math.pi * variance))
    assert exact == pytest.approx(true.numpy(), abs=2e-3)


def test_more_probes_lower_the_variance_of_a_correlated_field():
    """With neighbouring values coupled the Jacobian is not diagonal, and Hutchinson's estimate has a variance."""
    process = NoiseProcess(scheduler_config("scaled_linear", "epsilon"))

    def coupled(x, timestep):
        return 0.5 * x + 0.4 * x.flip(3)

    latent = torch.randn(40, 1, 2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    spread = []
    for probes in (1, 16):
        model = Likelihood(predict=coupled, process=process, probes=probes)
        draws = [
            model.log_density(latent[:1].expand(40, -1, -1, -1), torch.Generator().manual_seed(s))
            for s in (1, 2)
        ]
        spread.append(np.std(draws))
    assert spread[1] < 0.5 * spread[0]


def test_bits_of_uniform_noise_and_of_grey_images():
    """A Gaussian as wide as uniform pixels needs a little over 8 bits for them, and fewer for images near its mean."""
    process = NoiseProcess(scheduler_config("scaled_linear", "v"))
    model = Likelihood(predict=gaussian(process, 1.0), process=process, tolerance=1e-4)
    codec = LatentCodec(
        vae=None, mean=(0.0, 0.0, 0.0), scale=math.sqrt(3.0)
    )  # uniform on [-1, 1] to unit variance
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (8, 8, 8, 3)).astype(np.uint8)
    grey = np.full((2, 8, 8, 3), 127, dtype=np.uint8)
    bits = [bits_per_dimension(model, codec, x, torch.Generator().manual_seed(0)) for x in (noise, grey)]
    entropy = 8 + 0.5 * math.log2(2 * math.pi * math.e / 12)  # Gaussian of the uniform's variance
    assert bits[0].mean() == pytest.approx(entropy, abs=0.05)
    assert (bits[1] < bits[0].min()).all()


def test_latents_of_a_vae_have_no_bits():
    process = NoiseProcess(scheduler_config("scaled_linear", "v"))
    model = Likelihood(predict=gaussian(process, 1.0), process=process)
    codec = LatentCodec(vae=object(), mean=(0.0,), scale=1.0)
    with pytest.raises(ValueError, match="need a model of pixels"):
        bits_per_dimension(model, codec, np.zeros((1, 8, 8, 3), np.uint8), torch.Generator())
