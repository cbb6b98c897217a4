"""Trains the autoencoder and measures it: scaling of its latents, and reconstruction of held-out train lesions.

Shape legend: B images, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from engine.config import VaeConfig
from engine.diffusion.codec import (
    CHUNK,
    LatentCodec,
    flipped,
    images_to_tensor,
    padded_chunks,
    posterior_mean,
)
from engine.diffusion.vae_loss import split_moments, ssim, vae_loss
from engine.training.plan import TrainEnv
from engine.types import FloatArray, ImageArray, IntArray

ImageSource = Callable[[IntArray], ImageArray]
"""Returns the uint8 images (B, H, W, 3) at the given positions."""

FIELD = 4
"""Side of the random field that says where in an image which jitter acts."""
BORDER = 12.0
"""How sharply two jitters of an image meet."""
JITTER_DRAWS = 8 + FIELD**2
LUMA = torch.tensor([0.299, 0.587, 0.114])
MEASURED = 2048
"""Most images that scaling and reconstruction figures look at, evenly spaced."""


@dataclass(frozen=True, kw_only=True)
class VaeObjective:
    """Loss of one shard: images flipped at random, encoded, decoded from a posterior sample (or its mean)."""

    vae: Any
    images: ImageSource
    config: VaeConfig
    env: TrainEnv

    def __call__(self, rows: npt.NDArray[np.int64], step: int, generator: torch.Generator) -> Tensor:
        """Return the scalar loss; noise is drawn for the global batch and sliced by rank."""
        total = self.config.batch_size
        mine = torch.from_numpy(self.env.shard(np.arange(total)))
        flip_B2 = torch.rand(total, 2, generator=generator)[mine] < 0.5
        pixels = flipped(images_to_tensor(self.images(rows)), flip_B2)
        if self.config.colour_jitter > 0:
            draws_BD = torch.rand(total, JITTER_DRAWS, generator=generator)[mine]
            pixels = jitter_regions(pixels, draws_BD, self.config.colour_jitter)
        pixels = pixels.to(self.env.device)
        mean, logvar = split_moments(self.vae.encode(pixels).latent_dist.parameters)
        latent = mean
        if self.config.sample_posterior:
            noise = torch.randn(total, *mean.shape[1:], generator=generator)[mine].to(mean)
            latent = mean + (0.5 * logvar).exp() * noise
        recon = self.vae.decode(latent).sample
        loss = vae_loss(pixels, recon, mean, logvar, self.config.loss.model_dump())
        return loss * self.env.share_of_mean(len(rows), total)


def jitter_regions(pixels_BCHW: Tensor, draws_BD: Tensor, strength: float) -> Tensor:
    """Return images whose colours are jittered in one way here and in another there, in [-1, 1].

    With one jitter an image the hue of a lesion still follows from its skin's, and a VAE that learns so paints a red
    vascular lesion brown. Two jitters meet along a smooth random border.

    Args:
        pixels_BCHW: RGB in [-1, 1].
        draws_BD: uniform numbers in [0, 1), D = JITTER_DRAWS: two jitters of 4 (``jitter_colour``), then a field.
        strength: as ``jitter_colour``'s.
    """
    field = draws_BD[:, 8:].reshape(-1, 1, FIELD, FIELD)
    smooth = F.interpolate(field, size=pixels_BCHW.shape[-2:], mode="bicubic", align_corners=False)
    share = torch.sigmoid(BORDER * (smooth - 0.5))
    here, there = (jitter_colour(pixels_BCHW, draws_BD[:, k : k + 4], strength) for k in (0, 4))
    return share * here + (1 - share) * there


def jitter_colour(pixels_BCHW: Tensor, draws_B4: Tensor, strength: float) -> Tensor:
    """Return images of other saturation and tint, in [-1, 1].

    Dermoscopy has one dominant hue, so a thin VAE learns it as a constant and washes out what differs; jittered
    images make colour worth a place in the latent. Saturation is scaled around luma by exp(U(-2s, 2s)), each channel
    by 1 + U(-s, s).

    Args:
        pixels_BCHW: RGB in [-1, 1].
        draws_B4: uniform numbers in [0, 1): saturation, then the three gains.
        strength: s above, 0 to 1.
    """
    spread_B4 = (2 * draws_B4 - 1) * strength
    saturation_B = (2 * spread_B4[:, 0]).exp()[:, None, None, None]
    gain_BC = 1 + spread_B4[:, 1:, None, None]
    unit = (pixels_BCHW + 1) / 2
    luma = (unit * LUMA[None, :, None, None]).sum(dim=1, keepdim=True)
    return ((luma + saturation_B * (unit - luma)) * gain_BC).clamp(0, 1) * 2 - 1


def chroma_products(real_GN3: FloatArray, recon_GN3: FloatArray) -> npt.NDArray[np.float64]:
    """Return (G, 2): sums of real x reconstructed and of real x real chroma, each centred over the N colours of a group.

    Chroma is R - G and (R + G) / 2 - B. The quotient of the sums is the least-squares slope of the reconstruction on the
    real: how much of the colour differences survives, 1 all, 0 none.
    """
    real, recon = (
        np.stack([x[..., 0] - x[..., 1], (x[..., 0] + x[..., 1]) / 2 - x[..., 2]])
        for x in (real_GN3, recon_GN3)
    )
    real, recon = (x - x.mean(axis=-1, keepdims=True) for x in (real, recon))
    sums = [(real * recon).sum(axis=(0, 2)), (real**2).sum(axis=(0, 2))]
    return np.asarray(np.stack(sums, axis=1), dtype=np.float64)


def slope(products_G2: npt.NDArray[np.float64]) -> float | None:
    """Return the slope over all groups of ``chroma_products``; None where there is no colour difference."""
    both, alone = products_G2.sum(axis=0).tolist()
    return float(both / alone) if alone > 1e-9 else None


def evenly_spaced(positions: IntArray, most: int = MEASURED) -> IntArray:
    """Return at most ``most`` of the positions, evenly spaced, in order."""
    if len(positions) <= most:
        return positions
    return positions[np.linspace(0, len(positions) - 1, most).round().astype(np.int64)]


@torch.no_grad()
def measure_latents(
    vae: Any, images: ImageSource, positions: IntArray, device: str
) -> tuple[tuple[float, ...], float]:
    """Return the mean of each latent channel, and 1 / standard deviation over all channels around those means."""
    chosen = evenly_spaced(positions)
    pieces = [
        posterior_mean(vae, images_to_tensor(chunk, device)).double().cpu()
        for chunk in padded_chunks(images(chosen))
    ]
    latent = torch.cat(pieces)[: len(chosen)]
    mean_C = latent.mean(dim=(0, 2, 3))
    spread = float((latent - mean_C[None, :, None, None]).pow(2).mean().sqrt())
    return tuple(float(value) for value in mean_C), 1.0 / max(spread, 1e-6)


def reconstruction_figures(
    codec: LatentCodec, images: ImageSource, positions: IntArray
) -> dict[str, float | None]:
    """Return figures of the reconstruction of the given images, all on uint8 output scaled to [0, 1].

    ``psnr``: decibels, mean over images; ``l1``: mean absolute error; ``ssim``; ``colour_error``: mean distance
    between an image's mean RGB and its reconstruction's; ``chroma_slope``: the share of the colour differences
    between images that survives, ``pixel_chroma_slope``: of those within images (a lesion's colour against its skin's).
    """
    rows: list[npt.NDArray[np.float64]] = []
    means: list[tuple[FloatArray, FloatArray]] = []
    within: list[npt.NDArray[np.float64]] = []
    chosen = evenly_spaced(positions)
    for start in range(0, len(chosen), CHUNK):
        real = images(chosen[start : start + CHUNK])
        recon = codec.decode(codec.encode(real))
        a, b = real.astype(np.float64) / 255, recon.astype(np.float64) / 255
        mse_B = np.maximum(((a - b) ** 2).mean(axis=(1, 2, 3)), 1e-10)
        means.append((a.mean(axis=(1, 2)), b.mean(axis=(1, 2))))
        within.append(chroma_products(a.reshape(len(a), -1, 3), b.reshape(len(b), -1, 3)))
        colour_B = np.linalg.norm(means[-1][0] - means[-1][1], axis=1)
        pixels = [images_to_tensor(x) / 2 + 0.5 for x in (real, recon)]
        like_B = ssim(pixels[0], pixels[1]).double().numpy()
        rows.append(np.stack([-10 * np.log10(mse_B), np.abs(a - b).mean(axis=(1, 2, 3)), like_B, colour_B]))
    values = np.concatenate(rows, axis=1).mean(axis=1)
    figures: dict[str, float | None] = {
        name: float(value) for name, value in zip(("psnr", "l1", "ssim", "colour_error"), values, strict=True)
    }
    real_N3, recon_N3 = (np.concatenate(parts) for parts in zip(*means, strict=True))
    return {
        **figures,
        "chroma_slope": slope(chroma_products(real_N3[None], recon_N3[None])),
        "pixel_chroma_slope": slope(np.concatenate(within)),
    }
