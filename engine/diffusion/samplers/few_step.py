"""Samples a distilled denoiser: one evaluation for each segment of the noise range, from its end to the next one's.

It is DDIM (Song et al. 2021) between the ends of the segments. A student that was distilled for them (``distill.py``) gives
at each timestep that is visited the estimate of x_0 that leads to the next.

Shape legend: B samples, c h w a latent.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.diffusion.process import NoiseProcess
from engine.diffusion.samplers.sampling import Predict, SamplerSettings, Watch

FEW_STEP = "few_step"
"""Its name in ``synthesis.json``; no config asks for it, ``denoiser.distill`` does."""


@dataclass(frozen=True)
class FewStep:
    """Deterministic: the noise alone decides the sample. ``settings.steps`` is the number of segments."""

    settings: SamplerSettings

    def run(
        self,
        predict: Predict,
        noise_Bchw: Tensor,
        generators: Sequence[torch.Generator],
        parent_Bchw: Tensor | None = None,
        watch: Watch | None = None,
    ) -> Tensor:
        """Return the sampled latents; see ``Sampler``. NFE: the segments that the start lies in or above."""
        process = NoiseProcess(self.settings.scheduler_config)
        visited = visited_timesteps(process, self.settings.steps, self.settings.strength)
        latent = process.noised(noise_Bchw, parent_Bchw, visited[0])
        for u, lower in itertools.pairwise([*visited, -1]):
            clean, eps = process.clean_and_noise(predict(latent, u), latent, u)
            if watch is not None:
                watch(float(u), latent, clean)
            latent = process.signal(lower) * clean + process.noise(lower) * eps
        return latent


def visited_timesteps(process: NoiseProcess, steps: int, strength: float) -> list[int]:
    """Return the timesteps at which the student is asked, noisiest first: where it starts, and the ends below."""
    start = min(round(process.start(strength)), int(process.noisiest))
    return [start, *(end for end in segment_ends(process, steps) if -1 < end < start)]


def segment_ends(process: NoiseProcess, steps: int) -> list[int]:
    """Return the ends of ``steps`` segments of equally many timesteps, noisiest first, the clean end -1 last."""
    top = int(process.noisiest)
    return [round(top * part / steps) for part in range(steps, 0, -1)] + [-1]
