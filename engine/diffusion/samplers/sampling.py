"""What every sampler is: settings in, a function from noise to latents out; and the noise it draws.

Shape legend: B samples, c h w a latent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

Predict = Callable[[Tensor, float], Tensor]
"""The guided denoiser: (noisy latents, timestep) -> prediction. Timesteps are whole for diffusers' schedulers."""

Watch = Callable[[float, Tensor, Tensor], None]
"""Told after each step: (timestep the denoiser saw, the latents there, its estimate of x_0)."""


@dataclass(frozen=True, kw_only=True)
class SamplerSettings:
    """What a sampler is made with.

    ``scheduler_config`` is the denoiser's noise schedule (schedule.py); ``steps`` the noise levels visited;
    ``strength`` the share of the noise range to start at; the rest belongs to the sampler that it names.
    """

    scheduler_config: dict[str, Any]
    steps: int
    strength: float = 1.0
    solver: str = "heun"
    tolerance: float = 1e-3
    corrector_snr: float = 0.16
    langevin_inner: int = 3
    langevin_step: float = 0.3


class Sampler(Protocol):
    """Turns noise into latents by asking the denoiser."""

    def run(
        self,
        predict: Predict,
        noise_Bchw: Tensor,
        generators: Sequence[torch.Generator],
        parent_Bchw: Tensor | None = None,
        watch: Watch | None = None,
    ) -> Tensor:
        """Return the sampled latents (B, c, h, w).

        Args:
            predict: the guided denoiser.
            noise_Bchw: the samples' initial noise.
            generators: the samples' generators, which a stochastic sampler goes on drawing from, step by step.
            parent_Bchw: scaled latents to start from, noised to the first timestep; None: start from noise.
            watch: is told of every step.
        """
        ...


def sample_noise(shape: Sequence[int], generators: Sequence[torch.Generator], device: str) -> Tensor:
    """Return standard normal noise (B, ...), each sample's from its own CPU generator."""
    return torch.stack([torch.randn(tuple(shape), generator=generator) for generator in generators]).to(
        device
    )
