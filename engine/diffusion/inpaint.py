"""Pseudo-normal skin: what the frame would show without its lesion, painted in by the denoiser through the mask.

Shape legend: B samples, c h w a latent, H W an image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.diffusion.process import ChangedEstimate, NoiseProcess
from engine.diffusion.samplers.sampling import Predict
from engine.diffusion.tokens import slerp

SKIN_STRENGTH = 0.5
"""How far the smooth fill is noised before the denoiser gives it texture; from noise it would paint a lesion again,
for it has seen nothing else in the middle of a frame."""


def known_outside(
    predict: Predict, process: NoiseProcess, known_Bchw: Tensor, mask_B1hw: Tensor
) -> ChangedEstimate:
    """Return a denoiser whose estimate of x_0 is exact outside the mask (DDNM, Wang et al. 2023, Eq. 13)."""
    return ChangedEstimate(
        predict, process, lambda clean, _timestep: torch.where(mask_B1hw, clean, known_Bchw)
    )


def latent_mask(mask_BHW: Tensor, side: int) -> Tensor:
    """Return the lesion mask in latent cells, (B, 1, side, side) bool: any lesion pixel, and one cell around it.

    A mask that leaves no skin keeps its border cells as skin, so that there is something to go by.
    """
    cells = F.adaptive_max_pool2d((mask_BHW > 0).float()[:, None], side)
    grown = F.max_pool2d(cells, 3, stride=1, padding=1) > 0
    whole = grown.flatten(1).all(dim=1)
    border = torch.zeros(side, side, dtype=torch.bool, device=mask_BHW.device)
    border[[0, -1], :] = True
    border[:, [0, -1]] = True
    return torch.where(whole[:, None, None, None] & border, False, grown)


def smooth_fill(latent_Bchw: Tensor, mask_B1hw: Tensor, rounds: int = 200) -> Tensor:
    """Return the latents with the masked cells filled from their surroundings: Laplace's equation, by relaxation."""
    outside = (~mask_B1hw).to(latent_Bchw)
    mean = (latent_Bchw * outside).sum(dim=(2, 3), keepdim=True) / outside.sum(dim=(2, 3), keepdim=True)
    filled = torch.where(mask_B1hw, mean, latent_Bchw)
    for _ in range(rounds):
        padded = F.pad(filled, (1, 1, 1, 1), mode="replicate")
        around = (
            padded[..., :-2, 1:-1] + padded[..., 2:, 1:-1] + padded[..., 1:-1, :-2] + padded[..., 1:-1, 2:]
        ) / 4
        filled = torch.where(mask_B1hw, around, latent_Bchw)
    return filled


def toward(first_Bchw: Tensor, second_Bchw: Tensor, share: float) -> Tensor:
    """Return the spherical interpolation of whole latents, from ``first`` (share 0) to ``second`` (share 1)."""
    count = len(first_Bchw)
    first, second = (x.reshape(count, 1, -1) for x in (first_Bchw, second_Bchw))
    return slerp(first, second, torch.full((count,), share, device=first_Bchw.device)).view_as(first_Bchw)
