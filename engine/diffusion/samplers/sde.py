"""Stochastic samplers on the score s = -eps / sigma: reverse SDE, predictor-corrector, annealed Langevin dynamics.

Each ends with one denoising step at the lowest noise the denoiser was trained on (Jolicoeur-Martineau et al. 2021).

Shape legend: B samples, c h w a latent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.diffusion.process import NoiseProcess
from engine.diffusion.samplers import sampling
from engine.diffusion.samplers.sampling import Predict, SamplerSettings, Watch


@dataclass(frozen=True)
class ReverseSde:
    """Euler-Maruyama on dx = [-beta x / 2 - beta score] du + sqrt(beta) dW, run backwards (Song et al. 2021, Eq. 6).

    Timesteps are uniform; the integral of beta over a step is taken exactly, so 1000 steps are nearly DDPM's.
    With ``corrector``, each step is followed by one Langevin step at the new level (their Algorithm 5). Its size
    2 (snr |z| / |score|)^2 uses the expected norms, so that a sample's path does not depend on the others.
    """

    settings: SamplerSettings
    corrector: bool = False

    def run(
        self,
        predict: Predict,
        noise_Bchw: Tensor,
        generators: Sequence[torch.Generator],
        parent_Bchw: Tensor | None = None,
        watch: Watch | None = None,
    ) -> Tensor:
        """Return the sampled latents; see ``Sampler``. NFE: steps, or 2 steps - 1 with the corrector."""
        process = NoiseProcess(self.settings.scheduler_config)
        times = np.linspace(process.start(self.settings.strength), 0.0, self.settings.steps)
        x = process.noised(noise_Bchw, parent_Bchw, float(times[0]))

        def draw() -> Tensor:
            return sampling.sample_noise(noise_Bchw.shape[1:], generators, str(noise_Bchw.device))

        for u, v in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
            clean, eps = process.clean_and_noise(predict(x, u), x, u)
            if watch is not None:
                watch(u, x, clean)
            amount = process.log_abar(v) - process.log_abar(u)  # the integral of beta from v to u
            x = x + amount * (0.5 * x - eps / process.noise(u)) + math.sqrt(amount) * draw()
            if self.corrector:
                _, eps = process.clean_and_noise(predict(x, v), x, v)
                size = 2 * (self.settings.corrector_snr * process.noise(v)) ** 2
                x = x - size * eps / process.noise(v) + math.sqrt(2 * size) * draw()
        return _denoise(process, predict, x, 0.0, watch)


@dataclass(frozen=True)
class AnnealedLangevin:
    """x <- x + a score + sqrt(2 a) z at falling noise levels (Song and Ermon 2019, Algorithm 1), in y coordinates.

    Levels are geometric; at each, ``langevin_inner`` steps of size a = ``langevin_step`` s^2. A step of that size
    leaves a Gaussian with a variance too large by a / 2 relative to its own, which vanishes with the noise level.
    """

    settings: SamplerSettings

    def run(
        self,
        predict: Predict,
        noise_Bchw: Tensor,
        generators: Sequence[torch.Generator],
        parent_Bchw: Tensor | None = None,
        watch: Watch | None = None,
    ) -> Tensor:
        """Return the sampled latents; see ``Sampler``. NFE: steps x langevin_inner + 1."""
        process = NoiseProcess(self.settings.scheduler_config)
        first = process.start(self.settings.strength)
        ratios = np.geomspace(process.ratio(first), process.ratio(0.0), self.settings.steps)
        y = process.noised(noise_Bchw, parent_Bchw, first) / process.signal(first)
        size = self.settings.langevin_step
        for s in ratios.tolist():
            u = process.timestep(s)
            signal = process.signal(u)
            for _ in range(self.settings.langevin_inner):
                x = signal * y
                clean, eps = process.clean_and_noise(predict(x, u), x, u)
                if watch is not None:
                    watch(u, x, clean)
                z = sampling.sample_noise(noise_Bchw.shape[1:], generators, str(noise_Bchw.device))
                y = y - size * s * eps + math.sqrt(2 * size) * s * z
        return _denoise(process, predict, process.signal(0.0) * y, 0.0, watch)


def _denoise(process: NoiseProcess, predict: Predict, x: Tensor, u: float, watch: Watch | None) -> Tensor:
    """Return E[x_0 | x] by the denoiser (Tweedie)."""
    clean, _ = process.clean_and_noise(predict(x, u), x, u)
    if watch is not None:
        watch(u, x, clean)
    return clean
