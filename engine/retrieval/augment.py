"""Light augmentation of lesion images for contrastive training: geometry and colour that keep the appearance.

Shape legend: B batch, A random numbers an image, C colour channels, H, W image side.
Every operation maps 0 to 0, so the background of a masked lesion (Eq. 1) stays black.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

DRAWS: Final = 10
"""Uniform random numbers one image's augmentation takes."""
SMALLEST_CROP: Final = 0.75
"""Shortest side of a random crop, as a share of the image."""
GAIN: Final = 0.15
"""Largest relative change of brightness; a third of it for a single channel."""
SATURATION: Final = 0.2
"""Largest relative change of saturation."""


def augment(pixels_BCHW: Tensor, uniform_BA: Tensor) -> Tensor:
    """Flip, transpose, crop and re-tint images; ``uniform_BA`` (B, DRAWS) in 0-1 decides how, image by image.

    Args:
        pixels_BCHW: float32 RGB in 0-1.
        uniform_BA: random numbers; the same ones give the same result on any worker.
    """
    grid = F.affine_grid(_geometry(uniform_BA[:, :6]), list(pixels_BCHW.shape), align_corners=False)
    moved = F.grid_sample(pixels_BCHW, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return _tint(moved, uniform_BA[:, 6:])


def _geometry(uniform_B6: Tensor) -> Tensor:
    """Affine maps (B, 2, 3): two flips, a transposition, and a square crop anywhere in the image."""
    flip_B2 = torch.where(uniform_B6[:, :2] < 0.5, -1.0, 1.0)
    swap_B = uniform_B6[:, 2] < 0.5
    side_B1 = 1 - (1 - SMALLEST_CROP) * uniform_B6[:, 3:4]
    offset_B2 = (2 * uniform_B6[:, 4:6] - 1) * (1 - side_B1)
    straight_B22 = torch.diag_embed(side_B1 * flip_B2)
    linear_B22 = torch.where(swap_B[:, None, None], straight_B22.flip(-1), straight_B22)
    return torch.cat([linear_B22, offset_B2[:, :, None]], dim=2)


def _tint(pixels_BCHW: Tensor, uniform_B4: Tensor) -> Tensor:
    """Multiply by a gain an image and channel, then pull towards or away from grey."""
    signed_B4 = 2 * uniform_B4 - 1
    balance_B3 = torch.stack([signed_B4[:, 1], torch.zeros_like(signed_B4[:, 1]), -signed_B4[:, 1]], dim=1)
    gain_B3 = (1 + GAIN * signed_B4[:, :1]) * (1 + GAIN / 3 * balance_B3)
    saturation_B111 = (1 + SATURATION * signed_B4[:, 2])[:, None, None, None]
    bright = pixels_BCHW * gain_B3[:, :, None, None]
    grey = bright.mean(dim=1, keepdim=True)
    return (grey + saturation_B111 * (bright - grey)).clamp(0, 1)
