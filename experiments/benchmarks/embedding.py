"""Embedding images at five levels, in bf16 and float32, against CLIPVisionModel in float32 behind its own processor.

CLIPVisionModel in bf16 stands beside it, and is no target.
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

from engine.retrieval.clip import CLIP_MEAN, CLIP_STD, save_clip
from engine.retrieval.embedding import LevelEmbedder, level_layers
from experiments.benchmarks.timing import OURS, compared, in_turns, seconds

IMAGES, SIDE, TARGET = 64, 64, 2.0
"""The target is that of bf16, which ``backend.precision`` of the studies and presets is."""
TOWERS: dict[str, dict[str, int]] = {
    "demo CLIP": {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 4, "num_hidden_layers": 6,
                  "image_size": 64, "patch_size": 8},
    "ViT-B/32": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12,
                 "image_size": 224, "patch_size": 32},
}  # fmt: skip


def measure(turns: int, full: bool) -> dict[str, Any]:
    """Return a row per tower and precision, of random weights; uint8 images in, hidden states of five layers out."""
    images = np.random.default_rng(0).integers(256, size=(IMAGES, SIDE, SIDE, 3), dtype=np.uint8)
    names = list(TOWERS) if full else ["demo CLIP"]
    return {
        f"embedding, {name}, {precision}": of_tower(TOWERS[name], images, turns, precision)
        for name in names
        for precision in ("bf16", "float32")
    }


def of_tower(shape: dict[str, int], images: Any, turns: int, precision: str) -> dict[str, Any]:
    """Measure one tower."""
    torch.manual_seed(0)
    model = CLIPVisionModel(CLIPVisionConfig(**shape)).eval()
    half = copy.deepcopy(model).to(torch.bfloat16)
    layers = level_layers(shape["num_hidden_layers"], 5)
    processor = CLIPImageProcessor(
        size={"shortest_edge": shape["image_size"]}, crop_size=shape["image_size"],
        image_mean=list(CLIP_MEAN), image_std=list(CLIP_STD),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        save_clip(Path(scratch), model, None, shape["image_size"])
        ours = LevelEmbedder(Path(scratch), layers, precision=precision)

        def plain(tower: CLIPVisionModel) -> None:
            with torch.inference_mode():
                for start in range(0, len(images), 32):
                    pixels = processor(list(images[start : start + 32]), return_tensors="pt")["pixel_values"]
                    states = tower(
                        pixel_values=pixels.to(tower.dtype), output_hidden_states=True
                    ).hidden_states
                    torch.stack([states[layer][:, 0] for layer in layers], dim=1)

        ways = {
            OURS: lambda: seconds(lambda: ours(images), len(images)),
            "CLIPVisionModel": lambda: seconds(lambda: plain(model), len(images)),
            "CLIPVisionModel in bf16": lambda: seconds(lambda: plain(half), len(images)),
        }
        return compared(
            in_turns(ways, turns), TARGET if precision == "bf16" else None, unit="images",
            alternative="CLIPImageProcessor, CLIPVisionModel with output_hidden_states, 32 a pass, inference mode, float32; "
            "the second with weights in bf16",
        )  # fmt: skip
