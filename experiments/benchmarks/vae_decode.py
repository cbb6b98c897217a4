"""The VAE's decoding of 32 and of 8 latents against ``vae.decode`` in channels_last."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch

from engine.build import load
from engine.diffusion.codec import LatentCodec
from engine.diffusion.vae import build_vae
from experiments.benchmarks.timing import OURS, compared, in_turns, seconds
from experiments.lib.keeping import EXPERIMENTS

TARGETS = {32: 1.2, 8: 1.0}


def measure(turns: int, full: bool) -> dict[str, Any]:
    """Return a row per batch size; uint8 images out of ours, floats out of the alternative."""
    config = load(EXPERIMENTS / "configs" / "ham10000_64.yaml", ())
    vae = build_vae(config.vae, config.data.image_size, 0).eval().requires_grad_(False)
    last = copy.deepcopy(vae).to(memory_format=torch.channels_last)
    channels, side = config.vae.latent_channels, config.data.image_size // config.vae.downsample
    batches = 4 if full else 1
    figures = {}
    for count, target in TARGETS.items():
        latents = torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(0))
        codec = LatentCodec(vae=vae, mean=(0.0,) * channels, scale=1.0, chunk=count)
        with torch.inference_mode():
            ways = {
                OURS: partial(repeated, codec.decode, latents, batches),
                "vae.decode": partial(
                    repeated, last.decode, latents.contiguous(memory_format=torch.channels_last), batches
                ),
            }
            figures[f"VAE decode, {count} images"] = compared(
                in_turns(ways, turns),
                target,
                unit="images",
                alternative="channels_last, inference mode, float32",
            )
    return figures


def repeated(work: Any, latents: Any, batches: int) -> float:
    """Return the seconds of an image."""
    return seconds(lambda: [work(latents) for _ in range(batches)], batches * len(latents))
