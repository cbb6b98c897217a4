"""Which train lesions the generator parts keep aside to measure themselves on; never val, never test."""

from __future__ import annotations

import numpy as np

from engine.training.plan import derive_seed
from engine.types import BoolArray, StrArray

HELD_OUT_SHARE = 0.03
"""Share of the groups of train lesions that the VAE and the denoiser do not learn from."""


def held_out(group_N: StrArray, share: float = HELD_OUT_SHARE) -> BoolArray:
    """Mark the images of about ``share`` of the groups (of lesions), at least one group, the same ones in every process.

    A group's rank is a hash of its name, so adding groups moves few others in or out. With fewer than two groups
    nothing is held out.

    Returns:
        (N,) bool, true where the image's group is held out.
    """
    groups = sorted({str(name) for name in group_N}, key=lambda name: (derive_seed("held out", name), name))
    if len(groups) < 2:
        return np.zeros(len(group_N), dtype=np.bool_)
    chosen = groups[: max(1, round(share * len(groups)))]
    return np.isin(group_N, chosen)
