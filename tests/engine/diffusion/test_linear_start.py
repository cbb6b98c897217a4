"""The linear start: components by hand, and an encoder that computes them before any training."""

import numpy as np
import pytest
import torch

from engine.config import VaeConfig
from engine.diffusion.codec import LatentCodec, images_to_tensor
from engine.diffusion.linear_start import LOGVAR, components, gather, start_linear, starts_linear
from engine.diffusion.vae import build_vae


def images(count=24, side=16, seed=0):
    """Smooth coloured images: sums of a few waves."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    waves = np.stack([np.sin(6 * x + 2 * y), np.cos(5 * y), np.sin(9 * x * y), np.ones_like(x)], axis=-1)
    mixed = waves @ rng.normal(0, 0.3, (count, 1, 4, 3)) + rng.normal(0, 0.02, (count, side, side, 3))
    return ((mixed.clip(-1, 1) + 1) * 127.5).round().astype(np.uint8)


def test_components_by_hand():
    values = np.array(
        [[2.0, 1.0], [-2.0, 1.0], [0.0, 1.5], [0.0, 0.5]]
    )  # variances 8/3 and 1/6 around (0, 1)
    found = components(values, 2)
    codes = found(values)
    assert found.mean_D.tolist() == [0.0, 1.0]
    assert codes[:, 0].std(ddof=1) == pytest.approx(1.0)
    assert codes[:, 1].std(ddof=1) == pytest.approx((1 / 16) ** 0.25)  # the root of a quarter
    assert abs(codes[0, 0]) == pytest.approx(2 / (8 / 3) ** 0.5)


def test_gather_puts_two_by_two_side_by_side():
    codes = np.arange(16).reshape(1, 4, 4, 1)
    assert gather(codes)[0, 0, 0].tolist() == [0, 1, 4, 5]
    assert gather(codes)[0, 1, 1].tolist() == [10, 11, 14, 15]


@pytest.mark.parametrize(
    ("widths", "downsample"),
    [([16, 32, 64], 4), ([16, 32], 2), ([16, 32, 32], 4), ([24], 1), ([16, 32, 32, 32], 8)],
)
def test_the_untrained_encoder_gives_the_components(widths, downsample):
    config = VaeConfig(widths=widths, downsample=downsample, latent_channels=8)
    vae, pixels = build_vae(config, 16, seed=0), images()
    start_linear(vae, pixels)
    with torch.no_grad():
        posterior = vae.encode(images_to_tensor(pixels)).latent_dist
    latent = posterior.mean.permute(0, 2, 3, 1).double().numpy()
    assert float(posterior.logvar.mean()) == pytest.approx(LOGVAR, abs=0.5)
    values = pixels / 127.5 - 1.0
    for _ in range(len(widths) - 1):
        values = gather(values)  # exact where no level had to leave components out
    if downsample <= 4:
        known = min(8, values.shape[-1])
        expected = components(values, known)(values)
        for k in range(min(3, known)):
            fit = np.corrcoef(latent[..., k].ravel(), expected[..., k].ravel())[0, 1]
            assert abs(fit) > 0.98
            assert latent[..., k].std() == pytest.approx(expected[..., k].std(), rel=0.1)
    # the codes hold the images: the best linear map back explains nearly all of them
    flat, target = latent.reshape(-1, 8), values.reshape(-1, values.shape[-1])
    flat = np.concatenate([flat, np.ones((len(flat), 1))], axis=1)
    left = target - flat @ np.linalg.lstsq(flat, target, rcond=None)[0]
    assert left.var() < (0.05 if downsample <= 4 else 0.15) * target.var()


def test_a_random_start_does_not_hold_them():
    config = VaeConfig(widths=[16, 32, 64], downsample=4, latent_channels=8)
    pixels = images()
    codec = LatentCodec(vae=build_vae(config, 16, seed=0), mean=(0.0,) * 8, scale=1.0)
    latent = codec.encode(pixels).permute(0, 2, 3, 1).double().numpy().reshape(-1, 8)
    target = gather(gather(pixels / 127.5 - 1.0)).reshape(len(latent), -1)
    flat = np.concatenate([latent, np.ones((len(latent), 1))], axis=1)
    left = target - flat @ np.linalg.lstsq(flat, target, rcond=None)[0]
    assert left.var() > 0.1 * target.var()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, True),
        ({"start": "random"}, False),
        ({"pretrained": "folder"}, False),
        ({"widths": [8, 16, 16]}, False),
    ],
)
def test_when_it_applies(change, expected):
    assert starts_linear(VaeConfig(**{"widths": [16, 32, 64], "latent_channels": 8, **change})) is expected
