"""Classical augmentation: geometric (flips, right angles, small affine), colour, noise and blur; batched, seeded.

Shape legend: B images of the global batch, S of them on this worker, N images, C=3, H, W. All randomness is drawn on
CPU for the global batch and sliced, so that devices and numbers of workers see the same augmentation.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

KINDS = ("none", "flips", "classical")

ROTATION, SCALE, SHIFT = math.radians(20.0), 0.12, 0.06
BRIGHTNESS, CONTRAST, SATURATION, HUE = 0.15, 0.15, 0.2, math.radians(8.0)
NOISE_SHARE, NOISE_STD, BLUR_SHARE = 0.25, 0.03, 0.25

LUMA = (0.299, 0.587, 0.114)
RGB_TO_YIQ = ((0.299, 0.587, 0.114), (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))


def augment(images_NCHW: Tensor, kind: str, generator: torch.Generator, batch: int, shard: slice) -> Tensor:
    """Augment this worker's images.

    Args:
        images_NCHW: float in [0, 1], square, the images ``shard`` of the global batch.
        kind: "none"; "flips" (horizontal and vertical); "classical" (all).
        generator: CPU generator of the step.
        batch: size B of the global batch; the draws are for all of it.
        shard: this worker's slice of 0..B-1.

    Returns:
        Float in [0, 1], same shape.
    """
    if kind == "none":
        return images_NCHW
    codes_B = torch.randint(0, 4 if kind == "flips" else 8, (batch,), generator=generator)
    images_NCHW = dihedral(images_NCHW, codes_B[shard])
    if kind == "flips":
        return images_NCHW
    unit_BK = torch.rand((batch, 10), generator=generator) * 2 - 1
    affine_S23 = affine_matrices(unit_BK[shard, 0], unit_BK[shard, 1], unit_BK[shard, 2:4])
    images_NCHW = warp(images_NCHW, affine_S23)
    colour_S33, offset_S = colour_matrices(unit_BK[shard, 4:8], images_NCHW.mean((2, 3)).cpu())
    images_NCHW = recolour(images_NCHW, colour_S33, offset_S)
    images_NCHW = blur(images_NCHW, (unit_BK[shard, 8] + 1) / 2 < BLUR_SHARE)
    noise_std_B = ((unit_BK[:, 9] + 1) / 2 / NOISE_SHARE).where((unit_BK[:, 9] + 1) / 2 < NOISE_SHARE, 0.0)
    images_NCHW = add_noise(images_NCHW, noise_std_B * NOISE_STD, shard, generator)
    return images_NCHW.clamp(0.0, 1.0)


def dihedral(images_NCHW: Tensor, codes_N: Tensor) -> Tensor:
    """Apply one of the square's eight symmetries: bit 1 mirrors x, bit 2 mirrors y, bit 4 then transposes."""
    codes = codes_N.to(images_NCHW.device).view(-1, 1, 1, 1)
    images_NCHW = torch.where((codes & 1).bool(), images_NCHW.flip(3), images_NCHW)
    images_NCHW = torch.where((codes & 2).bool(), images_NCHW.flip(2), images_NCHW)
    return torch.where((codes & 4).bool(), images_NCHW.transpose(2, 3), images_NCHW)


def affine_matrices(turn_N: Tensor, zoom_N: Tensor, shift_N2: Tensor) -> Tensor:
    """Return (N, 2, 3) output-to-input maps of draws in [-1, 1]: rotation, scale exp(zoom SCALE), shift."""
    angle_N, scale_N = turn_N * ROTATION, torch.exp(zoom_N * SCALE)
    cos_N, sin_N = torch.cos(angle_N) * scale_N, torch.sin(angle_N) * scale_N
    shift_N2 = shift_N2 * SHIFT * 2
    first = torch.stack([cos_N, -sin_N, shift_N2[:, 0]], dim=1)
    return torch.stack([first, torch.stack([sin_N, cos_N, shift_N2[:, 1]], dim=1)], dim=1)


def warp(images_NCHW: Tensor, affine_N23: Tensor) -> Tensor:
    """Resample bilinearly; what lies outside is mirrored in."""
    affine_N23 = affine_N23.to(images_NCHW)
    grid = F.affine_grid(affine_N23, list(images_NCHW.shape), align_corners=False)
    return F.grid_sample(images_NCHW, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def colour_matrices(unit_N4: Tensor, mean_N3: Tensor) -> tuple[Tensor, Tensor]:
    """Return colour maps x -> M x + o of draws in [-1, 1] of brightness, contrast, saturation and hue.

    Hue turns the chroma plane of YIQ; saturation blends with luma; contrast blends with the image's mean
    luma (of ``mean_N3``, its mean colour).

    Returns:
        M (N, 3, 3) and o (N), the same for the three channels.
    """
    luma_3 = torch.tensor(LUMA)
    to_yiq = torch.tensor(RGB_TO_YIQ)
    angle_N = unit_N4[:, 3] * HUE
    turn_N33 = torch.eye(3).repeat(len(unit_N4), 1, 1)
    turn_N33[:, 1, 1] = turn_N33[:, 2, 2] = torch.cos(angle_N)
    turn_N33[:, 2, 1] = torch.sin(angle_N)
    turn_N33[:, 1, 2] = -torch.sin(angle_N)
    hue_N33 = torch.linalg.inv(to_yiq) @ turn_N33 @ to_yiq
    saturation_N11 = (1 + unit_N4[:, 2] * SATURATION).view(-1, 1, 1)
    grey_33 = luma_3.expand(3, 3)
    saturate_N33 = saturation_N11 * torch.eye(3) + (1 - saturation_N11) * grey_33
    gain_N = (1 + unit_N4[:, 0] * BRIGHTNESS) * (1 + unit_N4[:, 1] * CONTRAST)
    mean_N = (mean_N3 * luma_3).sum(1)
    offset_N = -mean_N * unit_N4[:, 1] * CONTRAST * (1 + unit_N4[:, 0] * BRIGHTNESS)
    return gain_N.view(-1, 1, 1) * (saturate_N33 @ hue_N33), offset_N


def recolour(images_NCHW: Tensor, matrix_N33: Tensor, offset_N: Tensor) -> Tensor:
    """Apply x -> M x + o to every pixel."""
    flat_N3P = images_NCHW.flatten(2)
    mapped = torch.baddbmm(offset_N.to(flat_N3P).view(-1, 1, 1), matrix_N33.to(flat_N3P), flat_N3P)
    return mapped.view_as(images_NCHW)


def blur(images_NCHW: Tensor, chosen_N: Tensor) -> Tensor:
    """Filter the chosen images with the 3x3 binomial kernel (1, 2, 1) x (1, 2, 1) / 16, edges replicated."""
    rows = torch.nonzero(chosen_N).flatten().to(images_NCHW.device)
    if len(rows) == 0:
        return images_NCHW
    padded = F.pad(images_NCHW[rows], (1, 1, 1, 1), mode="replicate")
    across = (padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]) / 4
    down = (across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]) / 4
    return images_NCHW.index_copy(0, rows, down)


def add_noise(images_NCHW: Tensor, std_B: Tensor, shard: slice, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise where ``std_B`` > 0; drawn for those images of the global batch, on CPU."""
    noisy_B = torch.nonzero(std_B > 0).flatten()
    noise = torch.randn((len(noisy_B), *images_NCHW.shape[1:]), generator=generator)
    noise = noise * std_B[noisy_B].view(-1, 1, 1, 1)
    mine = (noisy_B >= shard.start) & (noisy_B < shard.stop)
    if not bool(mine.any()):
        return images_NCHW
    rows = (noisy_B[mine] - shard.start).to(images_NCHW.device)
    return images_NCHW.index_add(0, rows, noise[mine].to(images_NCHW))
