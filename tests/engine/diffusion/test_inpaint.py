"""Pseudo-normal skin: masks in cells, smooth filling, the known part kept in any sampler, interpolation."""

import pytest
import torch

from engine.diffusion.inpaint import known_outside, latent_mask, smooth_fill, toward
from engine.diffusion.process import NoiseProcess
from engine.diffusion.samplers.sampling import SamplerSettings
from engine.diffusion.samplers.table import SAMPLERS, make_sampler
from engine.diffusion.schedule import scheduler_config


def test_the_mask_covers_every_lesion_cell_and_one_around_it():
    pixels = torch.zeros(1, 16, 16)
    pixels[0, 5, 6] = 255  # cell (1, 1) of a 4 x 4 latent
    mask = latent_mask(pixels, 4)[0, 0]
    assert mask.tolist() == [[True] * 3 + [False]] * 3 + [[False] * 4]


def test_a_mask_of_the_whole_frame_leaves_its_border_as_skin():
    mask = latent_mask(torch.full((1, 16, 16), 255.0), 4)[0, 0]
    assert mask.sum() == 4
    assert mask[1:3, 1:3].all()


def test_filling_is_harmonic():
    ramp = torch.arange(9.0).expand(1, 1, 9, 9).clone()  # a plane solves Laplace's equation
    mask = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    mask[..., 3:6, 3:6] = True
    spoiled = torch.where(mask, torch.tensor(100.0), ramp)
    assert torch.allclose(smooth_fill(spoiled, mask), ramp, atol=1e-3)


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v"])
@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_what_is_known_is_kept_in_every_sampler(name, prediction):
    config = scheduler_config("scaled_linear", prediction)
    process = NoiseProcess(config)
    known = torch.linspace(-1, 1, 32).reshape(2, 1, 4, 4)
    mask = torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    mask[..., 1:3, 1:3] = True

    def denoiser(x, timestep):  # thinks that everything is 0.5
        return process.prediction_of(torch.full_like(x, 0.5), x, timestep)

    draws = [torch.Generator().manual_seed(i) for i in range(2)]
    noise = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(9))
    sampler = make_sampler(name, SamplerSettings(scheduler_config=config, steps=30))
    made = sampler.run(known_outside(denoiser, process, known, mask), noise, draws)
    assert torch.allclose(made[~mask], known[~mask], atol=0.02)
    assert torch.allclose(made[mask], torch.full((8,), 0.5), atol=0.02)


def test_interpolation_ends_at_both_and_keeps_the_norm():
    first, second = (torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(i)) for i in (1, 2))
    assert torch.allclose(toward(first, second, 0.0), first, atol=1e-5)
    assert torch.allclose(toward(first, second, 1.0), second, atol=1e-5)
    unit = [x / x.flatten(1).norm(dim=1)[:, None, None, None] for x in (first, second)]
    assert torch.allclose(toward(*unit, 0.4).flatten(1).norm(dim=1), torch.ones(3), atol=1e-4)
