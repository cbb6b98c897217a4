"""A training step of the classifier and of the denoiser against the plain loops of PyTorch and diffusers, in bf16."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import EMAModel
from torch.nn import functional as F

from engine.build import load
from engine.classifier.model import build_model
from engine.config import Config
from engine.data.readers.arrays import DERMAMNIST as CLASSES
from engine.diffusion.denoiser import build_denoiser
from engine.training.loop import TrainLog
from engine.training.plan import TrainEnv
from experiments import train_speed
from experiments.benchmarks.timing import OURS, StepClock, compared, in_turns
from experiments.lib.keeping import EXPERIMENTS

SIDE, WARM, PROMPT = 64, 2, 12
"""Image side; steps that are not counted, as kernels are chosen in them; tokens of a prompt."""
Training = Callable[[Config, TrainEnv, int, Path], TrainLog]


def measure(turns: int, full: bool) -> dict[str, Any]:
    """Return a row per training; ours loads, augments and averages, the alternatives' batches are ready in memory."""
    config, steps = load(EXPERIMENTS / "configs" / "arms_full_32.yaml", ()), WARM + (8 if full else 4)

    def classifier(given: Config, env: TrainEnv, count: int, scratch: Path) -> TrainLog:
        return train_speed.classifier(given, SIDE, env, count, scratch)

    ways = {
        "classifier": (classifier, plain_classifier, 1.3, "resnet18, channels_last, fused AdamW, autocast bf16"),
        "denoiser": (
            train_speed.denoiser, plain_denoiser, 1.4,
            "the same model, DDPMScheduler.add_noise, mean squared error, fused AdamW, EMAModel, autocast bf16",
        ),
    }  # fmt: skip
    return {
        f"{name} step, batch {batch(config, name)}": compared(
            in_turns({OURS: partial(our_step, training, config, steps), "plain loop": partial(plain, config, steps)}, turns),
            target, unit="steps", alternative=settings,
        )
        for name, (training, plain, target, settings) in ways.items()
    }  # fmt: skip


def batch(config: Config, name: str) -> int:
    """Return how many images a step of a part takes."""
    return config.classifier.batch_size if name == "classifier" else config.denoiser.batch_size


def our_step(training: Training, config: Config, steps: int) -> float:
    """Return the seconds of a step of the engine's training."""
    clock = StepClock()
    with tempfile.TemporaryDirectory() as scratch:
        training(config, TrainEnv(precision="bf16", progress=clock), steps, Path(scratch))
    return clock.step(WARM)


def plain_classifier(config: Config, steps: int) -> float:
    """Return the seconds of a step as PyTorch's tuning guide has it."""
    section = config.classifier
    model = build_model(section.model, len(CLASSES), SIDE, small_stem=section.small_stem).train()
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=section.lr, fused=True)
    images = torch.randn(section.batch_size, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(section.batch_size) % len(CLASSES)
    clock = StepClock()
    for step in range(steps):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        clock("", step, steps)
    return clock.step(WARM)


def plain_denoiser(config: Config, steps: int) -> float:
    """Return the seconds of a step as diffusers' training example has it."""
    section, width, count = config.denoiser, config.embedder.width, config.denoiser.batch_size
    channels, side = config.vae.latent_channels, config.data.image_size // config.vae.downsample
    model = build_denoiser(section, channels, side, width, width, seed=0).train()
    scheduler, average = DDPMScheduler(), EMAModel(model.parameters())
    optimizer = torch.optim.AdamW(model.parameters(), lr=section.lr, fused=True)
    clean, prompt = torch.randn(count, channels, side, side), torch.randn(count, PROMPT, width)
    lesion = torch.randn(count, 1, width)
    clock = StepClock()
    for step in range(steps):
        noise, timestep = torch.randn_like(clean), torch.randint(1000, (count,))
        noisy = scheduler.add_noise(clean, noise, timestep)
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.mse_loss(model(noisy, timestep, prompt, lesion, section.beta).float(), noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.step(model.parameters())
        clock("", step, steps)
    return clock.step(WARM)
