"""The VAE loss against torchmetrics and values computed by hand."""

import math

import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from engine.diffusion.vae_loss import (
    LOGVAR_MAX,
    LOGVAR_MIN,
    gaussian_window,
    kl_divergence,
    split_moments,
    ssim,
    vae_loss,
    window_size,
)

OFF = {"kl": 0.0, "l1": 0.0, "l2": 0.0, "ssim": 0.0}


def pair(side, seed=0):
    generator = torch.Generator().manual_seed(seed)
    first = torch.rand(3, 3, side, side, generator=generator)
    return first, (first + 0.2 * torch.randn(3, 3, side, side, generator=generator)).clamp(0, 1)


def test_ssim_agrees_with_torchmetrics_at_window_11():
    first, second = pair(40)
    reference = structural_similarity_index_measure(
        first, second, gaussian_kernel=True, sigma=1.5, kernel_size=11, data_range=1.0, reduction="none"
    )
    assert torch.allclose(ssim(first, second), reference, atol=1e-5)


def test_ssim_agrees_with_torchmetrics_at_window_7():
    # torchmetrics derives the window from sigma: 0.9 gives 7
    first, second = pair(24)
    reference = structural_similarity_index_measure(
        first, second, gaussian_kernel=True, sigma=0.9, data_range=1.0, reduction="none"
    )
    assert torch.allclose(ssim(first, second, size=7, sigma=0.9), reference, atol=1e-5)


def test_ssim_of_constant_images_by_hand():
    # no variance: (2ab + C1) / (a^2 + b^2 + C1)
    a, b, c1 = 0.25, 0.75, 1e-4
    first, second = torch.full((1, 3, 16, 16), a), torch.full((1, 3, 16, 16), b)
    assert float(ssim(first, second)) == pytest.approx((2 * a * b + c1) / (a * a + b * b + c1), abs=1e-3)
    assert float(ssim(first, first)) == pytest.approx(1.0, abs=1e-6)


def test_ssim_gradient_improves_the_image():
    target, start = pair(16)
    guess = start.clone().requires_grad_()
    before = ssim(target, guess).mean()
    before.backward()
    with torch.no_grad():
        assert ssim(target, guess + 5.0 * guess.grad).mean() > before


@pytest.mark.parametrize(
    ("side", "size"), [(64, 11), (33, 11), (32, 7), (16, 7), (7, 7), (6, 5), (5, 5), (1, 1)]
)
def test_window_fits(side, size):
    assert window_size(side) == size
    assert window_size(side) <= side


def test_gaussian_window_sums_to_one_and_falls_off():
    window = gaussian_window(7, 1.5)
    assert float(window.sum()) == pytest.approx(1.0)
    assert float(window[3, 4] / window[3, 3]) == pytest.approx(math.exp(-1 / (2 * 2.25)))


def test_kl_by_hand():
    assert float(kl_divergence(torch.zeros(2), torch.zeros(2))) == 0.0
    # mean 2, sigma^2 = e: 0.5 (4 + e - 1 - 1)
    assert float(kl_divergence(torch.tensor([2.0]), torch.tensor([1.0]))) == pytest.approx(0.5 * (2 + math.e))


def test_moments_are_split_and_clamped():
    moments = torch.tensor([1.0, -99.0, 99.0, 0.5])[None, :, None, None]
    mean, logvar = split_moments(torch.cat([moments, moments], dim=1)[:, [0, 3, 1, 2]])
    assert mean.flatten().tolist() == [1.0, 0.5]
    assert logvar.flatten().tolist() == [LOGVAR_MIN, LOGVAR_MAX]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [({"l1": 2.0}, 1.0), ({"l2": 2.0}, 0.5), ({"kl": 1.0}, 0.5), ({"l1": 1.0, "l2": 1.0}, 0.75), ({}, 0.0)],
)
def test_terms_and_weights(weights, expected):
    image, mean = torch.zeros(1, 3, 16, 16), torch.ones(1, 4, 2, 2)
    loss = vae_loss(image, image + 0.5, mean, torch.zeros_like(mean), OFF | weights)
    assert float(loss) == pytest.approx(expected)


def test_ssim_term():
    image = torch.full((1, 3, 16, 16), -0.5)
    recon = torch.full((1, 3, 16, 16), 0.5)
    latent = torch.zeros(1, 1, 1, 1)
    loss = vae_loss(image, recon, latent, latent, OFF | {"ssim": 1.0})
    assert float(loss) == pytest.approx(1 - float(ssim(image / 2 + 0.5, recon / 2 + 0.5)), abs=1e-6)
