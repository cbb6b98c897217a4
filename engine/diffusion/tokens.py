"""Turns multi-level embeddings into adapter tokens, and mixes two embeddings along the sphere.

Shape legend: S samples, L levels, T tokens, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor


def fuse_levels(levels_SLD: Tensor, fuse: str) -> Tensor:
    """Return adapter tokens (S, T, D): the average of the levels (``mean``, Kim et al., T = 1) or each (``concat``).

    Args:
        levels_SLD: layer-normed embeddings, one a level.
        fuse: "mean" or "concat".
    """
    return levels_SLD.mean(dim=1, keepdim=True) if fuse == "mean" else levels_SLD


def slerp(first_SLD: Tensor, second_SLD: Tensor, share_S: Tensor) -> Tensor:
    """Return the spherical interpolation, level by level, from ``first`` (share 0) to ``second`` (share 1).

    Levels are layer-normed, so both ends have about the same norm and so has everything between them; a straight
    line would shrink. Nearly parallel levels are interpolated linearly.
    """
    cosine = torch.nn.functional.cosine_similarity(first_SLD, second_SLD, dim=-1).clamp(-1.0, 1.0)
    angle_SL1 = torch.acos(cosine)[..., None]
    share_S11 = share_S[:, None, None]
    sine = torch.sin(angle_SL1)
    parallel = sine < 1e-4
    safe = torch.where(parallel, torch.ones_like(sine), sine)
    keep = torch.where(parallel, 1 - share_S11, torch.sin((1 - share_S11) * angle_SL1) / safe)
    take = torch.where(parallel, share_S11, torch.sin(share_S11 * angle_SL1) / safe)
    return keep * first_SLD + take * second_SLD
