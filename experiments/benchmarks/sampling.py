"""Sampling by the default preset, and by a student of four evaluations, against DPM-Solver++ of 20 steps.

Seconds alone, the same random weights. How far the images of each are from real ones is ``experiments/results/distill`` and
``experiments/results/samplers``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

from engine.build import load
from engine.config import Config
from engine.diffusion.codec import LatentCodec
from engine.diffusion.denoiser import Denoiser, build_denoiser
from engine.diffusion.guidance import Guidance, GuidedDenoiser
from engine.diffusion.process import NoiseProcess
from engine.diffusion.samplers.few_step import visited_timesteps
from engine.diffusion.samplers.sampling import sample_noise
from engine.diffusion.schedule import scheduler_config
from engine.diffusion.synthesis import Student, guidance_of, sampler_of
from engine.diffusion.vae import build_vae
from engine.training.layout import lay_out
from engine.training.loop import autocast
from engine.training.plan import TrainEnv
from experiments.benchmarks.timing import OURS, compared, in_turns, seconds
from experiments.lib.keeping import EXPERIMENTS

BATCH, PROMPT, STEPS, EVALUATIONS = 32, 12, 20, 4
TARGET: Final = 4.0
"""Of the default preset, at equal KID."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Networks of a config with random weights, and the conditions of one batch."""

    config: Config
    model: Denoiser
    codec: LatentCodec
    prompt_BPW: Tensor
    lesion_BTD: Tensor

    @property
    def noise(self) -> dict[str, Any]:
        """The noise schedule that the denoiser would be trained with."""
        return scheduler_config(self.config.denoiser.schedule, self.config.denoiser.prediction)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(c, h, w) of a latent."""
        side = self.config.data.image_size // self.config.vae.downsample
        return (self.config.vae.latent_channels, side, side)


def measure(turns: int, full: bool) -> dict[str, Any]:
    """Return a row of the default preset and one of a student, in bf16; conditions in, uint8 images out."""
    batches = 2 if full else 1
    setup = opened(load(EXPERIMENTS / "configs" / "ham10000_64.yaml", ()))
    visited = visited_timesteps(NoiseProcess(setup.noise), EVALUATIONS, 1.0)
    student = Student(steps=EVALUATIONS, visited=tuple(visited))
    plain = {f"DPM-Solver++, {STEPS} steps": partial(plain_sampling, setup, batches)}
    settings = (
        f"DPMSolverMultistepScheduler, {STEPS} steps, both branches of guidance in one batch, autocast bf16"
    )
    return {
        "sampling, default preset": compared(
            in_turns({OURS: partial(our_sampling, setup, batches, None), **plain}, turns),
            TARGET, unit="images", alternative=settings,
        ),
        f"sampling, a student of {EVALUATIONS} evaluations": compared(
            in_turns({OURS: partial(our_sampling, setup, batches, student), **plain}, turns),
            unit="images", alternative=settings,
        ),
    }  # fmt: skip


def opened(config: Config) -> Setup:
    """Return the networks of a config and conditions for them."""
    section, width = config.denoiser, config.embedder.width
    channels, side = config.vae.latent_channels, config.data.image_size // config.vae.downsample
    vae = build_vae(config.vae, config.data.image_size, 0).eval().requires_grad_(False)
    lay_out(vae, "cpu")
    drawn = torch.Generator().manual_seed(0)
    return Setup(
        config=config,
        model=build_denoiser(section, channels, side, width, width, seed=0).eval().requires_grad_(False),
        codec=LatentCodec(vae=vae, mean=(0.0,) * channels, scale=1.0, chunk=config.synthesis.vae_chunk),
        prompt_BPW=torch.randn(BATCH, PROMPT, width, generator=drawn),
        lesion_BTD=torch.randn(BATCH, 1, width, generator=drawn),
    )


def our_sampling(setup: Setup, batches: int, student: Student | None) -> float:
    """Return the seconds of an image."""
    section = setup.config.synthesis
    guided = GuidedDenoiser(
        model=setup.model,
        guidance=guidance_of(section) if student is None else Guidance(),
        prompt_BPW=setup.prompt_BPW,
        null_prompt_PW=torch.zeros_like(setup.prompt_BPW[0]),
        lesion_BTD=setup.lesion_BTD,
        beta=setup.config.denoiser.beta,
    )
    sampler = sampler_of(section, setup.noise, student)
    generators = [torch.Generator().manual_seed(seed) for seed in range(BATCH)]
    start = sample_noise(setup.shape, generators, "cpu")

    def work() -> None:
        setup.codec.decode(sampler.run(guided, start, generators))

    with torch.no_grad(), autocast(TrainEnv(precision="bf16")):
        return seconds(lambda: [work() for _ in range(batches)], batches * BATCH)


def plain_sampling(setup: Setup, batches: int) -> float:
    """Return the seconds of an image as diffusers' own pipelines sample."""
    scale, beta = setup.config.synthesis.guidance_scale, setup.config.denoiser.beta
    scheduler = DPMSolverMultistepScheduler(**setup.noise)
    prompt = torch.cat([torch.zeros_like(setup.prompt_BPW), setup.prompt_BPW])
    lesion = torch.cat([setup.model.null_lesion(BATCH, 1), setup.lesion_BTD])

    def work() -> None:
        scheduler.set_timesteps(STEPS)
        latent = torch.randn(BATCH, *setup.shape)
        for timestep in scheduler.timesteps:
            both = setup.model(torch.cat([latent] * 2), timestep.expand(2 * BATCH), prompt, lesion, beta)
            null, full = both.float().chunk(2)
            latent = scheduler.step(null + scale * (full - null), timestep, latent).prev_sample
        setup.codec.decode(latent)

    with torch.no_grad(), autocast(TrainEnv(precision="bf16")):
        return seconds(lambda: [work() for _ in range(batches)], batches * BATCH)
