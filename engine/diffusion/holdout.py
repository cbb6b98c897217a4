"""Which train lesions the generator parts keep aside to measure themselves on; never val, never test."""

from __future__ import annotations

import numpy as np

from engine.train_plan import derive_seed
from engine.types import BoolArray, StrArray

HELD_OUT_SHARE = 0.03
"""Share of train lesions that the VAE and the denoiser do not learn from."""


def held_out(lesion_id_N: StrArray, share: float = HELD_OUT_SHARE) -> BoolArray:
    """Mark the images of about ``share`` of the lesions, at least one lesion, the same ones in every process.

    A lesion's rank is a hash of its id, so adding lesions moves few others in or out. With fewer than two lesions
    nothing is held out.

    Returns:
        (N,) bool, true where the image's lesion is held out.
    """
    lesions = sorted(
        {str(name) for name in lesion_id_N}, key=lambda name: (derive_seed("held out", name), name)
    )
    if len(lesions) < 2:
        return np.zeros(len(lesion_id_N), dtype=np.bool_)
    chosen = lesions[: max(1, round(share * len(lesions)))]
    return np.isin(lesion_id_N, chosen)
