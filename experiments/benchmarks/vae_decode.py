"""The VAE's decoding of 32 and of 8 latents, in bf16 and float32, against ``vae.decode`` in channels_last and float32.

``vae.decode`` in bf16 stands beside it, and is no target.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch

from engine.build import load
from engine.diffusion.codec import LatentCodec, coding
from engine.diffusion.vae import build_vae
from engine.training.layout import lay_out
from engine.training.plan import TrainEnv
from experiments.benchmarks.timing import OURS, compared, in_turns, seconds
from experiments.lib.keeping import EXPERIMENTS

TARGETS = {32: 1.2, 8: 1.0}
"""Of bf16, which ``backend.precision`` of the studies and presets is."""


def measure(turns: int, full: bool) -> dict[str, Any]:
    """Return a row per batch size and precision; uint8 images out of ours, floats out of the alternatives."""
    config = load(EXPERIMENTS / "configs" / "ham10000_64.yaml", ())
    vae = build_vae(config.vae, config.data.image_size, 0).eval().requires_grad_(False)
    last = copy.deepcopy(vae).to(memory_format=torch.channels_last)
    lay_out(vae, "cpu")
    channels, side = config.vae.latent_channels, config.data.image_size // config.vae.downsample
    batches = 4 if full else 1
    figures = {}
    for count, target in TARGETS.items():
        latents = torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(0))
        codec = LatentCodec(vae=vae, mean=(0.0,) * channels, scale=1.0, chunk=count)
        given = latents.contiguous(memory_format=torch.channels_last)
        for precision in ("bf16", "float32"):
            ways = {
                OURS: partial(repeated, codec.decode, latents, batches, precision),
                "vae.decode": partial(repeated, last.decode, given, batches, "float32"),
                "vae.decode in bf16": partial(repeated, last.decode, given, batches, "bf16"),
            }
            figures[f"VAE decode, {count} images, {precision}"] = compared(
                in_turns(ways, turns),
                target if precision == "bf16" else None,
                unit="images",
                alternative="channels_last, inference mode, float32; the second under autocast to bf16",
            )
    return figures


def repeated(work: Any, latents: Any, batches: int, precision: str) -> float:
    """Return the seconds of an image."""
    with torch.inference_mode(), coding(TrainEnv(precision=precision)):
        return seconds(lambda: [work(latents) for _ in range(batches)], batches * len(latents))
