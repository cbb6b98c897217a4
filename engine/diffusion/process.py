"""The noise process in continuous time: the same table of abar_t that the denoiser was trained on, interpolated.

A timestep u may be any number in [-1, T - 1]; whole numbers are the training timesteps, u = -1 is clean. Two sets of
coordinates are used: x = sqrt(abar) x_0 + sqrt(1 - abar) eps, in which the denoiser works (variance preserving), and
y = x / sqrt(abar) = x_0 + s eps with s = sqrt(1 / abar - 1) (variance exploding; Song et al. 2021, Karras et al. 2022).

Shape legend: B samples, c h w a latent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq
from torch import Tensor

from engine.diffusion.schedule import PREDICTIONS, alphas_bar

LOWEST_LOG_SNR = -5.1
"""Sampling starts no noisier than half this log-SNR: beyond it (only the cosine schedule) x_0 is 0 / 0."""


class NoiseProcess:
    """dx = -beta(u) x / 2 du + sqrt(beta(u)) dW with beta(u) = -d log abar / du (VP-SDE, Song et al. 2021, Eq. 11)."""

    def __init__(self, scheduler_config: dict[str, Any]) -> None:
        """Interpolate the schedule of ``scheduler_config`` (monotone cubic through every log abar_t)."""
        self.scheduler_config = scheduler_config
        names = {diffusers: ours for ours, diffusers in PREDICTIONS.items()}
        self.prediction = names[scheduler_config["prediction_type"]]
        abar_T = alphas_bar(scheduler_config).double().numpy()
        self.last = len(abar_T) - 1
        self._log_abar = PchipInterpolator(
            np.arange(-1, len(abar_T)), np.concatenate([[0.0], np.log(abar_T)]), extrapolate=False
        )

    def log_abar(self, u: float) -> float:
        """Return log abar at timestep ``u``."""
        return float(self._log_abar(u))

    def signal(self, u: float) -> float:
        """Return sqrt(abar)."""
        return math.exp(0.5 * self.log_abar(u))

    def noise(self, u: float) -> float:
        """Return sqrt(1 - abar), the standard deviation of the noise in x."""
        return math.sqrt(-math.expm1(self.log_abar(u)))

    def ratio(self, u: float) -> float:
        """Return s = sqrt(1 - abar) / sqrt(abar), the standard deviation of the noise in y."""
        return self.noise(u) / self.signal(u)

    def timestep(self, ratio: float) -> float:
        """Return the timestep whose ``ratio`` is given; the ends of the schedule outside of it."""
        if ratio <= 0.0:
            return -1.0
        target = -math.log1p(ratio**2)
        if target <= self.log_abar(self.last):
            return float(self.last)
        return float(brentq(lambda u: self.log_abar(u) - target, -1.0, self.last, xtol=1e-12, rtol=1e-14))

    @cached_property
    def noisiest(self) -> float:
        """The noisiest timestep that sampling starts from (half-log-SNR at least LOWEST_LOG_SNR)."""
        return self.timestep(math.exp(-LOWEST_LOG_SNR))

    def start(self, strength: float) -> float:
        """Return the first timestep at ``strength``: that share of the range, no noisier than ``noisiest``."""
        return min(strength * self.last, self.noisiest)

    def noised(self, noise_Bchw: Tensor, parent_Bchw: Tensor | None, u: float) -> Tensor:
        """Return where sampling starts: noise, or the parent noised to ``u`` (SDEdit, Meng et al. 2022)."""
        if parent_Bchw is None:
            return noise_Bchw
        return self.signal(u) * parent_Bchw + self.noise(u) * noise_Bchw

    def clean_and_noise(self, output_Bchw: Tensor, x_Bchw: Tensor, u: float) -> tuple[Tensor, Tensor]:
        """Return the estimates of x_0 and eps in the denoiser's output at (x, u), whatever it predicts."""
        return estimates(self.prediction, output_Bchw, x_Bchw, self.signal(u), self.noise(u))

    def prediction_of(self, clean_Bchw: Tensor, x_Bchw: Tensor, u: float) -> Tensor:
        """Return the output that stands for this estimate of x_0: the inverse of ``clean_and_noise``."""
        if self.prediction == "sample":
            return clean_Bchw
        signal, noise = self.signal(u), self.noise(u)
        eps = (x_Bchw - signal * clean_Bchw) / noise
        return eps if self.prediction == "epsilon" else signal * eps - noise * clean_Bchw


def estimates(
    prediction: str, output_Bchw: Tensor, x_Bchw: Tensor, signal: float | Tensor, noise: float | Tensor
) -> tuple[Tensor, Tensor]:
    """Return the estimates of x_0 and eps in an output, at a signal and a noise for all samples or each its own."""
    if prediction == "epsilon":
        return (x_Bchw - noise * output_Bchw) / signal, output_Bchw
    if prediction == "sample":
        return output_Bchw, (x_Bchw - signal * output_Bchw) / noise
    return signal * x_Bchw - noise * output_Bchw, signal * output_Bchw + noise * x_Bchw


@dataclass(frozen=True)
class ChangedEstimate:
    """A denoiser whose estimate of x_0 is changed at each step; predicts what the denoiser predicts, in any sampler.

    ``change`` maps the estimate (B, c, h, w) and the timestep to what is put in its place.
    """

    predict: Callable[[Tensor, float], Tensor]
    process: NoiseProcess
    change: Callable[[Tensor, float], Tensor]

    def __call__(self, noisy_Bchw: Tensor, timestep: float) -> Tensor:
        """Return the prediction that stands for the changed estimate."""
        output = self.predict(noisy_Bchw, timestep)
        clean, _ = self.process.clean_and_noise(output, noisy_Bchw, timestep)
        return self.process.prediction_of(self.change(clean, timestep), noisy_Bchw, timestep)
