"""What a sampler passes through on the way from noise to an image.

Shape legend: K images, H side.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.types import ImageArray


@dataclass(frozen=True, kw_only=True)
class State:
    """One look on the way: the noisy latents and the estimate of x_0 at a timestep, both decoded (K, H, H, 3)."""

    timestep: float
    noisy_BHWC: ImageArray
    clean_BHWC: ImageArray
