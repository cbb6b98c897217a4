"""Distils a denoiser into a student that samples in a few evaluations, guidance included.

Multistep consistency distillation (Heek et al. 2024): the noise range is cut into a few segments; in each, the student
learns the estimate of x_0 that takes DDIM from any timestep straight to the segment's end, where the teacher's path leads.
The path is the guided teacher's (guidance distilled as in Meng et al. 2023), so the student runs once for each segment.

Shape legend: B batch, c h w a latent, P prompt tokens, W prompt width, L levels, D lesion width, T = 1000 timesteps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from engine.config import DenoiserConfig
from engine.diffusion.codec import CHUNK
from engine.diffusion.denoiser import Denoiser
from engine.diffusion.guidance import Guidance, GuidedDenoiser
from engine.diffusion.process import NoiseProcess, estimates
from engine.diffusion.samplers.few_step import FewStep, segment_ends
from engine.diffusion.samplers.sampling import SamplerSettings
from engine.diffusion.tokens import fuse_levels
from engine.diffusion.train import DenoiserData, Draws, draw
from engine.training.plan import TrainEnv, derive_seed
from engine.types import IntArray

LARGEST_WEIGHT = 5.0
"""Weight of an error in x_0 is the SNR, from 1 (Salimans and Ho 2022, Sec. 4) to this (Hang et al. 2023)."""
LOOKED_AT = 64
"""Held-out lesions on which a student is compared with its teacher."""


@dataclass(frozen=True, kw_only=True)
class TeacherPath:
    """The noise levels of the teacher's path, in whole timesteps (-1 is clean), cut into the student's segments."""

    process: NoiseProcess
    segments: int
    steps: int

    @property
    def noisiest(self) -> int:
        """The timestep that sampling starts from."""
        return int(self.process.noisiest)

    def next(self, timestep_B: Tensor) -> Tensor:
        """Return where the teacher steps to: a stride further, but not beyond the end of the segment."""
        return torch.maximum(
            timestep_B - max(1, round((self.noisiest + 1) / self.steps)), self.end(timestep_B)
        )

    def end(self, timestep_B: Tensor) -> Tensor:
        """Return the end of each timestep's segment, the largest one below it."""
        return self._end_T[timestep_B.cpu() + 1].to(timestep_B.device)

    def levels(self, timestep_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return sqrt(abar) and sqrt(1 - abar) at timesteps, (B, 1, 1, 1) each."""
        rows_B2 = self._levels_T2[timestep_B.cpu() + 1].to(timestep_B.device)
        signal, noise = rows_B2[:, :, None, None, None].unbind(1)
        return signal, noise

    @cached_property
    def _end_T(self) -> Tensor:
        ends = np.array(segment_ends(self.process, self.segments)[::-1])
        below = np.searchsorted(ends, np.arange(-1, self.process.last + 1), side="left") - 1
        return torch.from_numpy(ends[np.maximum(below, 0)])

    @cached_property
    def _levels_T2(self) -> Tensor:
        steps = range(-1, self.process.last + 1)
        return torch.tensor([(self.process.signal(u), self.process.noise(u)) for u in steps])


@dataclass(frozen=True, kw_only=True)
class DistillObjective:
    """Loss of one shard: squared distance between the student's estimate of x_0 and the one that its path asks for."""

    model: Denoiser
    teacher: Denoiser
    data: DenoiserData
    config: DenoiserConfig
    guidance: Guidance
    fuse: str
    path: TeacherPath
    env: TrainEnv

    def __call__(self, rows: IntArray, step: int, generator: torch.Generator) -> Tensor:
        """Return the scalar loss of the latents ``rows``; the mean over workers is that of the global batch."""
        shape = self.data.latents_N2chw.shape[2:]
        draws = draw(self.config, shape, self.data.neighbours_NK.shape[1], generator, self.env)
        return self.loss(rows, draws).mean() * self.env.share_of_mean(len(rows), self.config.batch_size)

    def loss(self, rows: IntArray, draws: Draws) -> Tensor:
        """Return the weighted loss of each example, (B,).

        Timesteps are drawn over 1000 and stretched over those that sampling visits; nothing is dropped of the conditions.
        """
        device, path = self.env.device, self.path
        t_B = (draws.timestep_B * (path.noisiest + 1) // 1000).to(device)
        signal, noise = path.levels(t_B)
        clean = self.data.latents(rows, draws).to(device)
        noisy = signal * clean + noise * draws.noise_Bchw.to(device)
        student, teacher = self.both(rows, draws)
        with torch.no_grad():
            wanted = self.wanted(teacher, student, noisy, t_B)
        estimate, _ = self._estimates(student.at_own, noisy, t_B)
        weight_B = (signal**2 / noise**2).clamp(1.0, LARGEST_WEIGHT).flatten()
        loss_B: Tensor = ((estimate - wanted) ** 2).mean(dim=(1, 2, 3)) * weight_B
        return loss_B

    def wanted(
        self, teacher: GuidedDenoiser, student: GuidedDenoiser, noisy_Bchw: Tensor, t_B: Tensor
    ) -> Tensor:
        """Return the estimate of x_0 (B, c, h, w) from which DDIM leads to where the path does (Heek et al., Alg. 1).

        The teacher steps once; the student, as it is now, goes on from there to the end of the segment.
        """
        path = self.path
        clean, eps = self._estimates(teacher.at_own, noisy_Bchw, t_B)
        next_B, end_B = path.next(t_B), path.end(t_B)
        signal, noise = path.levels(next_B)
        there = signal * clean + noise * eps
        inside = (next_B > end_B)[:, None, None, None]
        further, further_eps = self._estimates(student.at_own, there, next_B.clamp(min=0))
        signal_end, noise_end = path.levels(end_B)
        at_end = torch.where(inside, signal_end * further + noise_end * further_eps, there)
        signal, noise = path.levels(t_B)
        ratio = noise_end / noise
        led = (at_end - ratio * noisy_Bchw) / (signal_end - ratio * signal)
        return torch.where(inside, led, clean)

    def both(self, rows: IntArray, draws: Draws) -> tuple[GuidedDenoiser, GuidedDenoiser]:
        """Return student and guided teacher under the examples' conditions."""
        device, data = self.env.device, self.data
        lesion = fuse_levels(data.levels(rows, draws).to(device), self.fuse)
        prompt = data.prompts(rows)
        student, teacher = (
            GuidedDenoiser(
                model=model,
                guidance=guidance,
                prompt_BPW=prompt,
                null_prompt_PW=data.null_prompt_PW,
                lesion_BTD=lesion,
                beta=self.config.beta,
            )
            for model, guidance in ((self.model, Guidance()), (self.teacher, self.guidance))
        )
        return student, teacher

    def _estimates(
        self, predict: Callable[[Tensor, Tensor], Tensor], noisy_Bchw: Tensor, t_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        signal, noise = self.path.levels(t_B)
        return estimates(self.path.process.prediction, predict(noisy_Bchw, t_B), noisy_Bchw, signal, noise)


@dataclass(frozen=True, kw_only=True)
class Distances:
    """How far samples in few evaluations end from the teacher's whole path: root mean square, in its standard deviations.

    ``student`` is the student's, ``teacher`` that of the teacher itself at the student's few noise levels.
    """

    student: float
    teacher: float


@torch.no_grad()
def distances(objective: DistillObjective, positions: IntArray, seed: int) -> Distances | None:
    """Compare both with the path from the same noise, on held-out lesions (at most LOOKED_AT); None where there are none."""
    rows = positions[:LOOKED_AT]
    if len(rows) == 0:
        return None
    path = objective.path
    generator = torch.Generator().manual_seed(derive_seed(seed, "distill", "look"))
    shape = objective.data.latents_N2chw.shape[2:]
    settings = SamplerSettings(scheduler_config=path.process.scheduler_config, steps=path.segments)
    few, whole = FewStep(settings), FewStep(replace(settings, steps=path.steps))
    ends: list[list[Tensor]] = []
    for start in range(0, len(rows), CHUNK):
        chosen = rows[start : start + CHUNK]
        noise = torch.randn(len(chosen), *shape, generator=generator)
        student, teacher = objective.both(chosen, Draws.plain(torch.zeros(len(chosen)).long(), noise))
        noise = noise.to(objective.env.device)
        ways = ((whole, teacher), (few, student), (few, teacher))
        ends.append([sampler.run(predict, noise, []).cpu().double() for sampler, predict in ways])
    true, of_student, of_teacher = (torch.cat(parts) for parts in zip(*ends, strict=True))
    scale = float(true.std())
    apart = [float((end - true).square().mean().sqrt()) / scale for end in (of_student, of_teacher)]
    return Distances(student=apart[0], teacher=apart[1])
