"""Samples a distilled denoiser: one evaluation for each segment of the noise range.

From a timestep that is visited the student leads by one step of DDIM (Song et al. 2021) to a lower one, at most the next
that is visited; there the noise in between is drawn anew (strategic stochastic sampling, Zheng et al. 2024). With ``fresh``
0 it leads to the next one itself and the way is deterministic; with 1 to the clean end, as consistency models sample (Song
et al. 2023, Alg. 1).

Shape legend: B samples, c h w a latent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.diffusion.process import NoiseProcess
from engine.diffusion.samplers.sampling import Predict, SamplerSettings, Watch, sample_noise

FEW_STEP = "few_step"
"""Its name in ``synthesis.json``; no config asks for it, ``denoiser.distill`` does."""


@dataclass(frozen=True)
class FewStep:
    """``settings.steps`` is the number of segments; what is drawn anew comes from each sample's own generator."""

    settings: SamplerSettings
    fresh: float = 0.0

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
        for u, following in zip(visited, [*visited[1:], -1], strict=True):
            clean, eps = process.clean_and_noise(predict(latent, u), latent, u)
            if watch is not None:
                watch(float(u), latent, clean)
            lower = lead(following, self.fresh)
            latent = process.signal(lower) * clean + process.noise(lower) * eps
            if lower < following:
                drawn = sample_noise(latent.shape[1:], generators, str(latent.device)).to(latent.dtype)
                kept = process.signal(following) / process.signal(lower)
                added = process.noise(following) ** 2 - (kept * process.noise(lower)) ** 2
                latent = kept * latent + math.sqrt(added) * drawn
        return latent


def lead(following: int, fresh: float) -> int:
    """Return the timestep that the student leads to on the way to the one that is visited next (-1 is clean)."""
    return round((1.0 - fresh) * (following + 1)) - 1


def visited_timesteps(process: NoiseProcess, steps: int, strength: float) -> list[int]:
    """Return the timesteps at which the student is asked, noisiest first: where it starts, and the ends below."""
    start = min(round(process.start(strength)), int(process.noisiest))
    return [start, *(end for end in segment_ends(process, steps) if -1 < end < start)]


def segment_ends(process: NoiseProcess, steps: int) -> list[int]:
    """Return the ends of ``steps`` segments of equally many timesteps, noisiest first, the clean end -1 last."""
    top = int(process.noisiest)
    return [round(top * part / steps) for part in range(steps, 0, -1)] + [-1]
