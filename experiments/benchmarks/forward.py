"""The denoiser's forward pass as a share of the best matrix product that this machine does, in bf16 and float32."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch.utils.flop_counter import FlopCounterMode

from engine.build import load
from engine.diffusion.denoiser import Denoiser, build_denoiser
from experiments.benchmarks.timing import OURS, compared, in_turns, seconds
from experiments.lib.keeping import EXPERIMENTS

BATCH: Final = 32
PROMPT: Final = 12
"""Tokens of a prompt."""
SIDES: Final = (512, 1024, 2048)
"""Sides of the square products among which the fastest counts."""
TARGETS: Final = {"bf16": (torch.bfloat16, 0.8), "float32": (torch.float32, None)}


def measure(turns: int, full: bool) -> dict[str, Any]:
    """Return a row per precision; a unit is 1e9 floating point operations, as torch counts those of a pass."""
    config = load(EXPERIMENTS / "configs" / "ham10000_64.yaml", ())
    section, width = config.denoiser, config.embedder.width
    channels, side = config.vae.latent_channels, config.data.image_size // config.vae.downsample
    model = build_denoiser(section, channels, side, width, width, seed=0).eval()
    model = model.to(memory_format=torch.channels_last)
    given = (
        torch.randn(BATCH, channels, side, side), torch.randint(1000, (BATCH,)),
        torch.randn(BATCH, PROMPT, width), torch.randn(BATCH, 1, width), section.beta,
    )  # fmt: skip
    work, passes = operations(model, given), 8 if full else 3
    rows = {}
    for precision, (dtype, target) in TARGETS.items():
        ways = {
            OURS: lambda dtype=dtype: forward(model, given, dtype, passes) / work,
            "the best product": lambda dtype=dtype: min(product(side, dtype) for side in SIDES),
        }
        rows[f"denoiser forward, {precision}"] = compared(
            in_turns(ways, turns), target, unit="GFLOP",
            alternative=f"the fastest of square products of {', '.join(map(str, SIDES))} in {precision}; "
            f"a pass of {BATCH} latents counts {work:.1f} GFLOP",
        )  # fmt: skip
    return rows


def operations(model: Denoiser, given: tuple[Any, ...]) -> float:
    """Return 1e9 floating point operations of one pass."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(*given)
    return counter.get_total_flops() / 1e9


def forward(model: Denoiser, given: tuple[Any, ...], dtype: torch.dtype, passes: int) -> float:
    """Return the seconds of one pass."""
    with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        return seconds(lambda: [model(*given) for _ in range(passes)], passes)


def product(side: int, dtype: torch.dtype) -> float:
    """Return the seconds of 1e9 floating point operations of a square product."""
    left, right = torch.randn(side, side).to(dtype), torch.randn(side, side).to(dtype)
    times = max(1, 2048**3 // side**3 // 2)
    return seconds(lambda: [left @ right for _ in range(times)], times) / (2 * side**3 / 1e9)
