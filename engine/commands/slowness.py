"""What in a config would be slow on this machine, and why."""

from __future__ import annotations

import os

from engine.arms import ARMS, ENGINE, HEADLINE
from engine.config import Config

CPU_PIXELS = 96
"""Image sides above this take many hours without an accelerator."""
FEW_STEPS = {"dpmpp": 25, "dpmpp_sde": 25, "unipc": 25, "ddim": 60, "ddpm": 200}
"""Sampler steps beyond which images hardly improve (ddpm aside, which needs them); the others have no such number."""


def slow_parts(config: Config, device: str) -> list[tuple[str, str]]:
    """Return (key, why) for each choice that costs more than it has to on ``device``."""
    found = []
    cores = os.cpu_count() or 1
    if device == "cpu" and config.data.image_size > CPU_PIXELS:
        cost = (config.data.image_size / 64) ** 2
        found.append(
            (
                "data.image_size",
                f"{config.data.image_size} px on a CPU costs about {cost:.0f} times 64 px a step",
            )
        )
    if config.backend.threads > cores:
        found.append(
            ("backend.threads", f"{config.backend.threads} threads on {cores} cores slow each other down")
        )
    if (
        config.backend.kind == "ray"
        and max(config.backend.map_workers, config.backend.most_train_workers) > cores
    ):
        found.append(
            ("backend", f"more workers than the {cores} cores here; fine on a cluster, slow on this machine")
        )
    distilled = config.denoiser.distill is not None
    if not distilled and config.synthesis.steps > FEW_STEPS.get(
        config.synthesis.sampler, config.synthesis.steps
    ):
        found.append(
            ("synthesis.steps", f"{config.synthesis.steps} steps of {config.synthesis.sampler} a sample; "
             "dpmpp_sde with 16-20 is about as good")
        )  # fmt: skip
    if device == "cpu" and config.denoiser.pretrained is not None:
        found.append(
            ("denoiser.pretrained", "a pre-trained U-Net has hundreds of millions of weights; use a GPU")
        )
    if config.loop.mine_from == "crossfit":
        fits = config.loop.crossfit_folds * config.loop.rounds
        found.append(("loop.mine_from", f"crossfit trains {fits} more classifiers from scratch"))
    for name in config.loop.arms:
        if ARMS[name].makes_images and name not in (ENGINE, *HEADLINE):
            found.append(("loop.arms", f"arm {name} synthesizes as many images again"))
    if config.backend.precision == "float32" and device == "cuda":
        found.append(
            ("backend.precision", "bf16 is about twice as fast on this GPU; results then differ slightly")
        )
    return found
