"""The VAE loss of Kim et al.: KL + L1 + L2 + SSIM, each with its weight.

Shape legend: B images, C channels, H height, W width. Images lie in [-1, 1] unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

LOGVAR_MIN, LOGVAR_MAX = -12.0, 6.0
"""Bounds of the posterior's log variance: outside them the KL term or the noise overwhelms the rest."""


def gaussian_window(size: int, sigma: float) -> Tensor:
    """Return a (size, size) Gaussian that sums to 1."""
    offset = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    line = torch.exp(-(offset**2) / (2 * sigma**2))
    line = line / line.sum()
    return line[:, None] * line[None, :]


def window_size(side: int) -> int:
    """Return the SSIM window for images of this side: 11 as published, 7 up to 32 pixels, smaller below 7."""
    if side > 32:
        return 11
    return 7 if side >= 7 else max(1, side - 1 + side % 2)


def ssim(first_BCHW: Tensor, second_BCHW: Tensor, size: int | None = None, sigma: float = 1.5) -> Tensor:
    """Return the structural similarity of each image pair, averaged over channels and positions (Wang et al. 2004).

    Means and variances under a Gaussian window, images mirrored at the border; K1 = 0.01, K2 = 0.03, data range 1.

    Args:
        first_BCHW: images in [0, 1].
        second_BCHW: images in [0, 1].
        size: side of the window; None: by ``window_size``.
        sigma: standard deviation of the window, pixels.

    Returns:
        (B,) in [-1, 1]; 1 for equal images. Differentiable.
    """
    channels = first_BCHW.shape[1]
    size = size or window_size(min(first_BCHW.shape[-2:]))
    window = gaussian_window(size, sigma).to(first_BCHW).expand(channels, 1, size, size)
    stacked = torch.cat([first_BCHW, second_BCHW, first_BCHW**2, second_BCHW**2, first_BCHW * second_BCHW])
    padded = F.pad(stacked, (size // 2,) * 4, mode="reflect")
    mean_a, mean_b, square_a, square_b, product = F.conv2d(padded, window, groups=channels).chunk(5)
    var_a, var_b = (square_a - mean_a**2).clamp(min=0.0), (square_b - mean_b**2).clamp(min=0.0)
    covariance = product - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (var_a + var_b + c2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def split_moments(moments_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and clamped log variance of the posterior from the encoder's output."""
    mean, logvar = moments_BCHW.chunk(2, dim=1)
    return mean, logvar.clamp(LOGVAR_MIN, LOGVAR_MAX)


def kl_divergence(mean: Tensor, logvar: Tensor) -> Tensor:
    """Return KL(N(mean, exp(logvar)) || N(0, 1)) averaged over all latent elements, nats."""
    return 0.5 * (mean**2 + logvar.exp() - 1.0 - logvar).mean()


def vae_loss(
    image_BCHW: Tensor, recon_BCHW: Tensor, mean: Tensor, logvar: Tensor, weights: Mapping[str, float]
) -> Tensor:
    """Return the weighted sum of KL, L1, L2 and 1 - SSIM, averaged over the batch (Kim et al.).

    Args:
        image_BCHW: the images, [-1, 1].
        recon_BCHW: their reconstructions, unclamped.
        mean: posterior means.
        logvar: posterior log variances, clamped.
        weights: keys ``kl``, ``l1``, ``l2``, ``ssim``; a weight of 0 skips the term.
    """
    error = recon_BCHW - image_BCHW
    loss = weights["kl"] * kl_divergence(mean, logvar)
    loss = loss + weights["l1"] * error.abs().mean() + weights["l2"] * (error**2).mean()
    if weights["ssim"] > 0:
        similarity = ssim((image_BCHW + 1) / 2, (recon_BCHW + 1) / 2).mean()
        loss = loss + weights["ssim"] * (1 - similarity)
    return loss
