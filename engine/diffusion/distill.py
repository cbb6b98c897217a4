"""Distils a denoiser into a student that samples in a few evaluations, guidance included.

The noise range is cut into a few segments. At each timestep that sampling visits, the student learns the estimate of x_0
from which one step of DDIM goes where the teacher comes in several: progressive distillation (Salimans and Ho 2022) in one
stage. The teacher is guided, so the student runs once a segment (Meng et al. 2023).

Shape legend: B batch, c h w a latent, P prompt tokens, W prompt width, L levels, D lesion width, V visited timesteps.
"""

from __future__ import annotations

import itertools
import math
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
from engine.diffusion.samplers.few_step import FewStep, lead, segment_ends, visited_timesteps
from engine.diffusion.samplers.sampling import Predict, SamplerSettings, sample_noise
from engine.diffusion.schedule import TRAIN_STEPS
from engine.diffusion.tokens import fuse_levels
from engine.diffusion.train import DenoiserData, Draws, draw
from engine.training.plan import TrainEnv, derive_seed
from engine.types import IntArray

LARGEST_WEIGHT = 5.0
"""Weight of an error in x_0 is the SNR, from 1 (Salimans and Ho 2022, Sec. 4) to this (Hang et al. 2023)."""
WHOLE = 16
"""Teacher's steps per segment, of the path that a student is compared with."""
LOOKED_AT = 64
"""Held-out lesions on which a student is compared with its teacher."""


@dataclass(frozen=True, kw_only=True)
class Segments:
    """The student's segments of the noise range, in whole timesteps (-1 is clean), and the teacher's way through them.

    ``fresh`` is the sampler's; ``strengths`` are those that samples will start at (``synthesis.strength``).
    """

    process: NoiseProcess
    count: int
    teacher_steps: int
    fresh: float = 0.0
    strengths: tuple[float, ...] = (1.0,)

    @cached_property
    def visited(self) -> list[int]:
        """The timesteps at which the student will be asked, rising."""
        return sorted(
            {u for strength in self.strengths for u in visited_timesteps(self.process, self.count, strength)}
        )

    @cached_property
    def levels_V2(self) -> Tensor:
        """Signal and noise at each visited timestep, (V, 2)."""
        return torch.tensor([(self.process.signal(u), self.process.noise(u)) for u in self.visited])

    def path(self, timestep: int) -> list[int]:
        """Return the teacher's timesteps from a visited one to where the student shall lead, both included.

        They are uniform in the square root of the timestep: near the clean end, where most happens to the signal, steps are
        short. There are ``teacher_steps`` of them per length of a segment.
        """
        ends = segment_ends(self.process, self.count)
        last = lead(max(end for end in ends if end < timestep), self.fresh)
        length = (int(self.process.noisiest) + 1) / self.count
        count = max(1, round(self.teacher_steps * (timestep - last) / length))
        roots = np.linspace(math.sqrt(timestep + 1), math.sqrt(last + 1), count + 1)
        inner = [math.ceil(root**2) - 1 for root in roots[1:-1]]
        return [timestep, *sorted({u for u in inner if last < u < timestep}, reverse=True), last]


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
        device, process, visited = self.env.device, self.segments.process, self.segments.visited
        place_B = draws.timestep_B * len(visited) // TRAIN_STEPS
        signal, noise = self.segments.levels_V2[place_B, :, None, None, None].to(device).unbind(1)
        noisy = signal * self.data.latents(rows, draws).to(device) + noise * draws.noise_Bchw.to(device)
        student, teacher = self.both(rows, draws)
        wanted = torch.empty_like(noisy)
        with torch.no_grad():
            for place in sorted(set(place_B.tolist())):
                chosen = (place_B == place).nonzero().flatten().to(device)
                wanted[chosen] = self.wanted(teacher.of(chosen), noisy[chosen], visited[place])
        t_B = torch.tensor(visited)[place_B].to(device)
        output = self.model(noisy, t_B, student.prompt_BPW, student.lesion_BTD, student.beta).float()
        estimate, _ = estimates(process.prediction, output, noisy, signal, noise)
        weight_B = (signal**2 / noise**2).clamp(1.0, LARGEST_WEIGHT).flatten()
        loss_B: Tensor = ((estimate - wanted) ** 2).mean(dim=(1, 2, 3)) * weight_B
        return loss_B

    def wanted(self, teacher: Predict, noisy_Bchw: Tensor, timestep: int) -> Tensor:
        """Return the estimate of x_0 (B, c, h, w) from which DDIM goes where the teacher comes (Salimans and Ho, App. G).

        The teacher steps by DPM-Solver++(2M) (Lu et al. 2022, Alg. 2); at first, and into the clean end, in first order.
        """
        process, there = self.segments.process, noisy_Bchw
        path = self.segments.path(timestep)
        before: tuple[Tensor, float] | None = None
        for u, lower in itertools.pairwise(path):
            clean, _ = process.clean_and_noise(teacher(there, u), there, u)
            h = math.log(process.ratio(u) / process.ratio(lower)) if lower >= 0 else math.inf
            led = clean
            if before is not None and lower >= 0:
                led = clean + h / (2 * before[1]) * (clean - before[0])
            shrink = process.noise(lower) / process.noise(u)
            there = shrink * there + (process.signal(lower) - shrink * process.signal(u)) * led
            before = (clean, h)
        ratio = process.noise(path[-1]) / process.noise(timestep)
        return (there - ratio * noisy_Bchw) / (process.signal(path[-1]) - ratio * process.signal(timestep))

    def perfect(self, teacher: Predict, noisy_Bchw: Tensor, timestep: float) -> Tensor:
        """Return what a student that has learned all of it would answer, (B, c, h, w)."""
        wanted = self.wanted(teacher, noisy_Bchw, round(timestep))
        return self.segments.process.prediction_of(wanted, noisy_Bchw, timestep)

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
    """How far samples in few evaluations end from those along the teacher's path: root mean square, in standard deviations.

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
    settings = SamplerSettings(scheduler_config=segments.process.scheduler_config, steps=segments.count)
    sampler = FewStep(settings, segments.fresh)
    whole = replace(objective, segments=replace(segments, teacher_steps=WHOLE))
    ends: list[list[Tensor]] = []
    for start in range(0, len(rows), CHUNK):
        chosen = rows[start : start + CHUNK]
        shape = objective.data.latents_N2chw.shape[2:]
        blank = torch.zeros(len(chosen), *shape)
        student, teacher = objective.both(chosen, Draws.plain(torch.zeros(len(chosen)).long(), blank))
        ends.append([])
        for predict in (partial(whole.perfect, teacher), student, teacher):
            draws = [torch.Generator().manual_seed(derive_seed(seed, "look", int(row))) for row in chosen]
            noise = sample_noise(shape, draws, objective.env.device)
            ends[-1].append(sampler.run(predict, noise, draws).cpu().double())
    true, of_student, of_teacher = (torch.cat(parts) for parts in zip(*ends, strict=True))
    scale = float(true.std())
    apart = [float((end - true).square().mean().sqrt()) / scale for end in (of_student, of_teacher)]
    return Distances(student=apart[0], teacher=apart[1])
