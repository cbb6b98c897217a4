"""The forward process q(x_t | x_0) = N(sqrt(abar_t) x_0, (1 - abar_t) I) over 1000 steps, and what the network predicts.

Shape legend: B batch, T = 1000 training steps, c h w a latent.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

TRAIN_STEPS = 1000
SCHEDULES = {"linear": "linear", "scaled_linear": "scaled_linear", "cosine": "squaredcos_cap_v2"}
"""Config name to diffusers name; cosine is Nichol and Dhariwal's."""
PREDICTIONS = {"epsilon": "epsilon", "sample": "sample", "v": "v_prediction"}
"""Config name to diffusers name: the noise, x_0, or v = sqrt(abar) eps - sqrt(1 - abar) x_0."""
BETA_RANGES = {"linear": (1e-4, 0.02), "scaled_linear": (0.00085, 0.012), "cosine": (1e-4, 0.02)}
"""First and last beta: DDPM's for linear, Stable Diffusion's for scaled_linear, unused by cosine."""


def scheduler_config(schedule: str, prediction: str) -> dict[str, Any]:
    """Return the plain-JSON arguments every diffusers scheduler of this denoiser is made with."""
    first, last = BETA_RANGES[schedule]
    return {
        "num_train_timesteps": TRAIN_STEPS,
        "beta_schedule": SCHEDULES[schedule],
        "beta_start": first,
        "beta_end": last,
        "prediction_type": PREDICTIONS[prediction],
    }


def alphas_bar(config: dict[str, Any]) -> Tensor:
    """Return abar_t for t = 0 .. T-1, (T,) float32, from ``scheduler_config``'s result."""
    from diffusers import DDPMScheduler

    abar: Tensor = DDPMScheduler(**config).alphas_cumprod
    return abar


def add_noise(clean_Bchw: Tensor, noise_Bchw: Tensor, abar_B: Tensor) -> Tensor:
    """Return x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps."""
    abar = abar_B[:, None, None, None]
    return abar.sqrt() * clean_Bchw + (1 - abar).sqrt() * noise_Bchw


def prediction_target(clean_Bchw: Tensor, noise_Bchw: Tensor, abar_B: Tensor, prediction: str) -> Tensor:
    """Return what the network should output; ``prediction`` is the config's name (epsilon, sample, v)."""
    if prediction == "epsilon":
        return noise_Bchw
    if prediction == "sample":
        return clean_Bchw
    abar = abar_B[:, None, None, None]
    return abar.sqrt() * noise_Bchw - (1 - abar).sqrt() * clean_Bchw


def min_snr_weight(abar_B: Tensor, gamma: float | None, prediction: str) -> Tensor:
    """Return the Min-SNR weight of each example (Hang et al. 2023, Eq. 4 and its forms for noise and v).

    min(SNR, gamma) weighs the error in x_0; divided by SNR for the noise and by SNR + 1 for v. None: all ones.
    """
    if gamma is None:
        return torch.ones_like(abar_B)
    snr_B = abar_B / (1 - abar_B)
    clipped_B = snr_B.clamp(max=gamma)
    divisor_B = {"epsilon": snr_B, "sample": torch.ones_like(snr_B), "v": snr_B + 1}[prediction]
    return clipped_B / divisor_B
