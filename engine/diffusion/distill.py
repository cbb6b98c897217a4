"""Distils a denoiser into a student that samples in a few evaluations, guidance included.

The noise range is cut into a few segments. At each timestep that sampling visits, the student learns the estimate of x_0
from which DDIM goes straight to where the teacher comes at the segment's end in several steps: progressive distillation
(Salimans and Ho 2022) in one stage. The teacher is guided, so the student runs once a segment (Meng et al. 2023).

Shape legend: B batch, c h w a latent, P prompt tokens, W prompt width, L levels, D lesion width, T = 1000 timesteps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor

from engine.config import DenoiserConfig
from engine.diffusion.codec import CHUNK
from engine.diffusion.denoiser import Denoiser
from engine.diffusion.guidance import Guidance, GuidedDenoiser
from engine.diffusion.process import NoiseProcess, estimates
from engine.diffusion.samplers.few_step import FewStep, segment_ends, visited_timesteps
from engine.diffusion.samplers.sampling import SamplerSettings
from engine.diffusion.schedule import TRAIN_STEPS
from engine.diffusion.tokens import fuse_levels
from engine.diffusion.train import DenoiserData, Draws, draw
from engine.training.plan import TrainEnv, derive_seed
from engine.types import IntArray

LARGEST_WEIGHT = 5.0
"""Weight of an error in x_0 is the SNR, from 1 (Salimans and Ho 2022, Sec. 4) to this (Hang et al. 2023)."""
WHOLE = 16
"""Teacher's steps through a segment, of the path that a student is compared with."""
LOOKED_AT = 64
"""Held-out lesions on which a student is compared with its teacher."""


@dataclass(frozen=True, kw_only=True)
class Segments:
    """The student's segments of the noise range, in whole timesteps (-1 is clean), and the teacher's steps through one.

    ``strengths`` are those that samples will start at (``synthesis.strength``).
    """

    process: NoiseProcess
    count: int
    teacher_steps: int
    strengths: tuple[float, ...] = (1.0,)

    @cached_property
    def visited(self) -> list[int]:
        """The timesteps at which the student will be asked, rising."""
        return sorted(
            {u for strength in self.strengths for u in visited_timesteps(self.process, self.count, strength)}
        )

    def end(self, timestep_B: Tensor) -> Tensor:
        """Return the end of each timestep's segment, the largest one below it."""
        return self._end_T[timestep_B.cpu() + 1].to(timestep_B.device)

    def after(self, timestep_B: Tensor, steps: int) -> Tensor:
        """Return where the teacher is after so many of its steps from each timestep to the end of its segment.

        They are uniform in the square root of the timestep: near the clean end, where most happens to the signal, they are
        short. Rounded up, so that the end is reached in the last step alone.
        """
        first, last = (timestep_B + 1).double().sqrt(), (self.end(timestep_B) + 1).double().sqrt()
        root = first + (last - first) * steps / self.teacher_steps
        return (root**2 - 1e-6).ceil().long() - 1

    def levels(self, timestep_B: Tensor) -> tuple[Tensor, Tensor]:
        """Return sqrt(abar) and sqrt(1 - abar) at timesteps, (B, 1, 1, 1) each."""
        rows_B2 = self._levels_T2[timestep_B.cpu() + 1].to(timestep_B.device)
        signal, noise = rows_B2[:, :, None, None, None].unbind(1)
        return signal, noise

    @cached_property
    def _end_T(self) -> Tensor:
        ends = np.array(segment_ends(self.process, self.count)[::-1])
        below = np.searchsorted(ends, np.arange(-1, self.process.last + 1), side="left") - 1
        return torch.from_numpy(ends[np.maximum(below, 0)])

    @cached_property
    def _levels_T2(self) -> Tensor:
        steps = range(-1, self.process.last + 1)
        return torch.tensor([(self.process.signal(u), self.process.noise(u)) for u in steps])


@dataclass(frozen=True, kw_only=True)
class DistillObjective:
    """Loss of one shard: squared distance between the student's estimate of x_0 and the one that it should have."""

    model: Denoiser
    teacher: Denoiser
    data: DenoiserData
    config: DenoiserConfig
    guidance: Guidance
    fuse: str
    segments: Segments
    env: TrainEnv

    def __call__(self, rows: IntArray, step: int, generator: torch.Generator) -> Tensor:
        """Return the scalar loss of the latents ``rows``; the mean over workers is that of the global batch."""
        shape = self.data.latents_N2chw.shape[2:]
        draws = draw(self.config, shape, self.data.neighbours_NK.shape[1], generator, self.env)
        return self.loss(rows, draws).mean() * self.env.share_of_mean(len(rows), self.config.batch_size)

    def loss(self, rows: IntArray, draws: Draws) -> Tensor:
        """Return the weighted loss of each example, (B,).

        A timestep drawn of 1000 stands for one that sampling visits, each equally often. Conditions are not dropped.
        """
        device, segments = self.env.device, self.segments
        t_B = torch.tensor(segments.visited)[draws.timestep_B * len(segments.visited) // TRAIN_STEPS].to(
            device
        )
        signal, noise = segments.levels(t_B)
        clean = self.data.latents(rows, draws).to(device)
        noisy = signal * clean + noise * draws.noise_Bchw.to(device)
        student, teacher = self.both(rows, draws)
        with torch.no_grad():
            wanted = self.wanted(teacher, noisy, t_B)
        weight_B = (signal**2 / noise**2).clamp(1.0, LARGEST_WEIGHT).flatten()
        estimate = self._clean(student, noisy, t_B)
        loss_B: Tensor = ((estimate - wanted) ** 2).mean(dim=(1, 2, 3)) * weight_B
        return loss_B

    def wanted(self, teacher: GuidedDenoiser, noisy_Bchw: Tensor, t_B: Tensor) -> Tensor:
        """Return the estimate of x_0 (B, c, h, w) from which DDIM goes where the teacher comes (Salimans and Ho, Eq. 43)."""
        segments = self.segments
        there, u_B, before = noisy_Bchw, t_B, None
        for step in range(1, segments.teacher_steps + 1):
            next_B = segments.after(t_B, step)
            clean = self._clean(teacher, there, u_B.clamp(min=0))
            there = self._second_order(there, clean, before, u_B, next_B)
            before, u_B = (clean, u_B), next_B
        signal, noise = segments.levels(t_B)
        signal_end, noise_end = segments.levels(u_B)
        ratio = noise_end / noise
        return (there - ratio * noisy_Bchw) / (signal_end - ratio * signal)

    def perfect(self, teacher: GuidedDenoiser, noisy_Bchw: Tensor, timestep: float) -> Tensor:
        """Return what a student that has learned all of it would answer, (B, c, h, w)."""
        t_B = torch.full((len(noisy_Bchw),), round(timestep), device=noisy_Bchw.device)
        return self.segments.process.prediction_of(
            self.wanted(teacher, noisy_Bchw, t_B), noisy_Bchw, timestep
        )

    def _second_order(
        self,
        x_Bchw: Tensor,
        clean_Bchw: Tensor,
        before: tuple[Tensor, Tensor] | None,
        u_B: Tensor,
        next_B: Tensor,
    ) -> Tensor:
        """Return x at ``next_B`` by DPM-Solver++(2M) (Lu et al. 2022, Alg. 2); first and last steps are of first order."""
        signal, noise = self.segments.levels(u_B)
        signal_next, noise_next = self.segments.levels(next_B)
        led = clean_Bchw
        if before is not None:
            clean_before, u_before = before
            signal_before, noise_before = self.segments.levels(u_before)
            h = (signal_next / noise_next).log() - (signal / noise).log()
            h_before = (signal / noise).log() - (signal_before / noise_before).log()
            usable = (next_B >= 0)[:, None, None, None] & (h_before > 0)
            share = torch.where(usable, h / (2 * h_before), 0.0)
            led = clean_Bchw + share * (clean_Bchw - clean_before)
        shrink = noise_next / noise
        return shrink * x_Bchw + (signal_next - shrink * signal) * led

    def _clean(self, guided: GuidedDenoiser, noisy_Bchw: Tensor, t_B: Tensor) -> Tensor:
        signal, noise = self.segments.levels(t_B)
        output = guided.at_own(noisy_Bchw, t_B)
        return estimates(self.segments.process.prediction, output, noisy_Bchw, signal, noise)[0]

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
    segments = objective.segments
    generator = torch.Generator().manual_seed(derive_seed(seed, "distill", "look"))
    shape = objective.data.latents_N2chw.shape[2:]
    settings = SamplerSettings(scheduler_config=segments.process.scheduler_config, steps=segments.count)
    sampler = FewStep(settings)
    whole = replace(objective, segments=replace(segments, teacher_steps=WHOLE))
    ends: list[list[Tensor]] = []
    for start in range(0, len(rows), CHUNK):
        chosen = rows[start : start + CHUNK]
        noise = torch.randn(len(chosen), *shape, generator=generator)
        student, teacher = objective.both(chosen, Draws.plain(torch.zeros(len(chosen)).long(), noise))
        noise = noise.to(objective.env.device)
        ways = (partial(whole.perfect, teacher), student, teacher)
        ends.append([sampler.run(predict, noise, []).cpu().double() for predict in ways])
    true, of_student, of_teacher = (torch.cat(parts) for parts in zip(*ends, strict=True))
    scale = float(true.std())
    apart = [float((end - true).square().mean().sqrt()) / scale for end in (of_student, of_teacher)]
    return Distances(student=apart[0], teacher=apart[1])
