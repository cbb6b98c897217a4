"""Classifier-free guidance in one merged batch: by everything at once, or by prompt and lesion apart.

Shape legend: B samples, c h w a latent, P prompt tokens, W width, T lesion tokens, D lesion width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from engine.diffusion.denoiser import Denoiser
from engine.diffusion.schedule import TRAIN_STEPS


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """How strongly conditions pull: scale 1 is no guidance; outside ``interval`` (0 clean, 1 noise) it rests.

    With ``lesion_scale`` None, e = e(0) + scale (e(p, l) - e(0)) (Ho and Salimans 2022); else as Brooks et al. 2023,
    e = e(0) + scale (e(p) - e(0)) + lesion_scale (e(p, l) - e(p)), with prompt p and lesion l.
    """

    scale: float = 1.0
    lesion_scale: float | None = None
    interval: tuple[float, float] = (0.0, 1.0)

    def branches(self, timestep: float) -> int:
        """Return how many times the denoiser runs a sample at this timestep: 1, 2 or 3."""
        low, high = self.interval
        if not low <= timestep / TRAIN_STEPS <= high:
            return 1
        if self.lesion_scale is None:
            return 1 if self.scale == 1.0 else 2
        return 1 if self.scale == self.lesion_scale == 1.0 else 3

    def combine(self, outputs: Sequence[Tensor]) -> Tensor:
        """Combine the outputs of the branches, in the order (p, l), null, (p)."""
        if len(outputs) == 1:
            return outputs[0]
        full, null = outputs[:2]
        if len(outputs) == 2:
            return null + self.scale * (full - null)
        prompt = outputs[2]
        assert self.lesion_scale is not None
        return null + self.scale * (prompt - null) + self.lesion_scale * (full - prompt)


@dataclass(frozen=True, kw_only=True)
class GuidedDenoiser:
    """The denoiser with its conditions fixed: a function of the noisy latents and the timestep alone."""

    model: Denoiser
    guidance: Guidance
    prompt_BPW: Tensor
    null_prompt_PW: Tensor
    lesion_BTD: Tensor
    beta: float

    def of(self, rows: Tensor) -> GuidedDenoiser:
        """Return it under the conditions of some of its samples."""
        return replace(self, prompt_BPW=self.prompt_BPW[rows], lesion_BTD=self.lesion_BTD[rows])

    def __call__(self, noisy_Bchw: Tensor, timestep: float) -> Tensor:
        """Return the guided prediction (B, c, h, w); all branches run as one batch."""
        branches = self.guidance.branches(timestep)
        count, tokens = self.lesion_BTD.shape[:2]
        null_prompt = self.null_prompt_PW.expand(count, -1, -1)
        null_lesion = self.model.null_lesion(count, tokens)
        prompt = torch.cat([self.prompt_BPW, null_prompt, self.prompt_BPW][:branches])
        lesion = torch.cat([self.lesion_BTD, null_lesion, null_lesion][:branches])
        timestep_B = torch.full((count * branches,), timestep, device=noisy_Bchw.device)
        output = self.model(noisy_Bchw.repeat(branches, 1, 1, 1), timestep_B, prompt, lesion, self.beta)
        return self.guidance.combine(output.float().chunk(branches))
