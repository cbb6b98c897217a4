"""Tiny stand-ins for what the diffusion stages start from: a CLIP folder, an index folder, a conditioning folder."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from engine.artifacts.embedder import EmbedderFacts
from engine.config import Config, parse_config
from engine.data.captions import captions
from engine.diffusion.holdout import held_out
from engine.parts.dataset import open_dataset
from tests.fakes import make_dataset_folders, run_stage

WIDTH, LENGTH, LEVELS = 16, 12, 2


def tiny_tokenizer(texts: Sequence[str]) -> Any:
    """Word-level tokenizer over the given texts."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = sorted({word for text in texts for word in text.replace(",", " ,").replace("-", " - ").split()})
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<bos>", "<eos>", "<unk>", *words])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>", unk_token="<unk>"
    )


def make_clip(folder: Path, texts: Sequence[str]) -> None:
    """Save a CLIPModel of width 16 with its tokenizer, untrained."""
    from transformers import CLIPConfig, CLIPModel

    tokenizer = tiny_tokenizer(texts)
    shared = {"hidden_size": WIDTH, "intermediate_size": 32, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={
            **shared,
            "vocab_size": len(tokenizer),
            "num_hidden_layers": 1,
            "max_position_embeddings": LENGTH,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        vision_config={**shared, "num_hidden_layers": 2, "image_size": 16, "patch_size": 8},
        projection_dim=8,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_foundation(tmp: Path) -> dict[str, Path]:
    """Return the inputs of the diffusion stages: images, split, embedder, index, all tiny (16 px)."""
    images, split = make_dataset_folders(tmp)
    dataset = open_dataset(images, split)
    rows = dataset.where("train")
    make_clip(tmp / "embedder" / "clip", captions(dataset.table))
    facts = EmbedderFacts(
        pretrained=None, levels=tuple(range(LEVELS)), width=WIDTH, text=True, tokens="cls", losses=()
    )
    facts.write(tmp / "embedder")
    rng = np.random.default_rng(0)
    levels = rng.normal(size=(len(rows), LEVELS, WIDTH)).astype(np.float32)
    fused = levels.mean(axis=1)
    (tmp / "index").mkdir()
    np.save(tmp / "index" / "levels.npy", levels)
    np.save(tmp / "index" / "fused.npy", fused / np.linalg.norm(fused, axis=1, keepdims=True))
    return {"images": images, "split": split, "embedder": tmp / "embedder", "index": tmp / "index"}


def make_condition(folder: Path, inputs: dict[str, Path], samples: int = 6) -> Path:
    """Write conditioning of mine lesions: ``samples`` rows of class mel, seeds 5, 6, ..."""
    dataset = open_dataset(inputs["images"], inputs["split"])
    mine = dataset.table.image_id[dataset.where("mine")]
    folder.mkdir()
    frame = pd.DataFrame(
        {
            "sample_id": [f"s{i}" for i in range(samples)],
            "parent_image_id": mine[np.arange(samples) % len(mine)],
            "dx": ["mel"] * samples,
            "neighbour_ids": [[""]] * samples,
            "weights": [[1.0]] * samples,
            "seed": np.arange(samples) + 5,
        }
    )
    frame.to_parquet(folder / "conditioning.parquet")
    levels = np.random.default_rng(1).normal(size=(samples, LEVELS, WIDTH)).astype(np.float32)
    np.save(folder / "levels.npy", levels)
    return folder


def tiny(**sections: dict[str, Any]) -> Config:
    """Return a config of the diffusion stages for 16 px and a few steps; sections are merged over it."""
    tree: dict[str, dict[str, Any]] = {
        "data": {"image_size": 16},
        "vae": {"widths": [8, 16], "downsample": 2, "latent_channels": 4, "steps": 8, "batch_size": 8},
        "denoiser": {"widths": [8, 16], "head_dim": 8, "steps": 8, "batch_size": 8, "ema": 0.9},
        "embedder": {"fuse": "mean"},
        "synthesis": {"steps": 4, "batch_size": 4},
    }
    return parse_config(tree | {name: tree.get(name, {}) | section for name, section in sections.items()})


def run_foundation(tmp: Path) -> dict[str, Path]:
    """Run the stages vae, latents and denoiser on the tiny foundation; returns all inputs of ``synthesize``."""
    inputs = make_foundation(tmp)
    for name in ("vae", "latents", "denoiser"):
        module = importlib.import_module(f"engine.stages.{name}")
        inputs[name] = run_stage(module, tmp / name, inputs, module.Params.of(tiny()))
    inputs["condition"] = make_condition(tmp / "condition", inputs)
    return inputs


def denoiser_weights(folder: Path) -> list[bytes]:
    """Return the bytes of what stage denoiser, or distill, has learned."""
    names = ("adapter.safetensors", "unet/diffusion_pytorch_model.safetensors")
    return [(folder / name).read_bytes() for name in names]


def with_other_held_out_latents(folder: Path, inputs: Mapping[str, Path]) -> dict[str, Path]:
    """Return the inputs with latents, in the new ``folder``, whose held-out lesions are other ones."""
    dataset = open_dataset(inputs["images"], inputs["split"])
    values = np.load(inputs["latents"] / "latents.npy")
    values[held_out(dataset.table.lesion_id[dataset.where("train")])] = 9.0
    folder.mkdir()
    np.save(folder / "latents.npy", values)
    return {**inputs, "latents": folder}
