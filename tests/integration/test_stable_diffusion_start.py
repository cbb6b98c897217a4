"""A whole run that starts from a folder in Stable Diffusion's layout and a CLIP in Hugging Face's, made here, small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel

from engine import build
from engine.config import Config
from tests.fakes_diffusion import tiny_tokenizer
from tests.integration.contract import assert_contract
from tests.integration.tiny import tiny_config

WORDS = ["dermoscopy of melanoma, back, male, age 40 - 60", "dermoscopy of nevus, face, female"]
WIDTH = 16

REMADE = {"encoder.conv_out", "quant_conv", "post_quant_conv", "decoder.conv_in"}
"""The convolutions whose shape depends on the number of latent channels."""


def stable_diffusion(folder: Path, **unet_settings: Any) -> dict[str, dict[str, torch.Tensor]]:
    """Save vae/, unet/, text_encoder/ and tokenizer/, 4 latent channels; return the weights of the first two."""
    settings: dict[str, Any] = {
        "sample_size": 8, "in_channels": 4, "out_channels": 4, "block_out_channels": (8, 16), "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": WIDTH, "attention_head_dim": 2, "norm_num_groups": 2,
    }  # fmt: skip
    torch.manual_seed(0)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        latent_channels=4,
        norm_num_groups=2,
    )
    unet = UNet2DConditionModel(**{**settings, **unet_settings})
    vae.save_pretrained(folder / "vae")
    unet.save_pretrained(folder / "unet")
    tokenizer = tiny_tokenizer(WORDS)
    text = CLIPTextConfig(**text_settings(len(tokenizer)))
    CLIPTextModel(text).save_pretrained(folder / "text_encoder")
    tokenizer.save_pretrained(folder / "tokenizer")
    return {"vae": dict(vae.state_dict()), "unet": dict(unet.state_dict())}


def text_settings(vocabulary: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary, "hidden_size": WIDTH, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 12, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
    }  # fmt: skip


def clip(folder: Path) -> None:
    """Save a CLIPModel of 5 layers for 16 px images with its tokenizer."""
    tokenizer = tiny_tokenizer(WORDS)
    vision = {
        "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 5, "num_attention_heads": 2,
        "image_size": 16, "patch_size": 8,
    }  # fmt: skip
    model = CLIPModel(
        CLIPConfig(text_config=text_settings(len(tokenizer)), vision_config=vision, projection_dim=8)
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.mark.slow
def test_a_run_from_pretrained_weights(output: Path, tmp_path: Path) -> None:
    source = stable_diffusion(tmp_path / "sd")
    clip(tmp_path / "clip")
    config = tiny_config(
        str(output),
        name="pretrained",
        embedder={"pretrained": str(tmp_path / "clip")},
        vae={"pretrained": str(tmp_path / "sd"), "latent_channels": 8, "optimizer": "adam", "accumulate": 2,
             "gradient_checkpointing": True},
        denoiser={"pretrained": str(tmp_path / "sd"), "prediction": "epsilon", "loss": "l1",
                  "lr_schedule": "constant", "lr": 1e-5, "ema": 0.0, "accumulate": 2, "gradient_checkpointing": True},
        synthesis={"sampler": "ddim", "steps": 3, "guidance_scale": 3.0, "lesion_guidance_scale": 3.0},
        loop={"rounds": 1},
    )  # fmt: skip
    folder, _ = build.run(config)
    assert_contract(folder.path, 1, {"real", "hard"})

    made = {part: folder.stage(f"foundation/{part}").path for part in ("vae", "denoiser")}
    facts = {part: json.loads((path / f"{part}.json").read_text()) for part, path in made.items()}
    assert {name.rsplit(".", 1)[0] for name in facts["vae"]["remade"]} == {
        "encoder.conv_out",
        "quant_conv",
        "post_quant_conv",
        "decoder.conv_in",
    }
    assert facts["denoiser"]["remade"] == ["conv_in.weight", "conv_out.bias", "conv_out.weight"]
    assert facts["vae"]["scaling_factor"] != 0.18215

    plain = UNet2DConditionModel.from_pretrained(made["denoiser"] / "unet")
    assert plain.config.attention_type == "default"
    assert plain.config.in_channels == 8
    kept = [name for name in source["unet"] if not name.startswith(("conv_in", "conv_out"))]
    moved = max(float((plain.state_dict()[name] - source["unet"][name]).abs().max()) for name in kept)
    assert 0 < moved < 1e-3  # eight steps at 1e-5 from where Stable Diffusion was
    assert AutoencoderKL.from_pretrained(made["vae"] / "vae").config.latent_channels == 8


UNETS: dict[str, dict[str, Any]] = {
    "smaller": {"sample_size": 4},
    "larger_inpainting": {"sample_size": 64, "in_channels": 9},
}
"""U-Nets of other sizes than the run's images, and one with the channels of an inpainting model."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for every size: what does not depend on the U-Net is computed once per image size."""
    return tmp_path_factory.mktemp("sizes")


def started(shared: Path, image_size: int, unet: str, **sections: Any) -> Config:
    """Return a config of one round, as short as it can be, from the parts below ``shared``."""
    return tiny_config(
        str(shared / "out"),
        name=f"{unet}-{image_size}",
        data={"image_size": image_size, "phantom": {"lesions": 42, "views": 1, "imbalance": 0.0}},
        vae={"pretrained": str(shared / "vae"), "steps": 2},
        denoiser={"pretrained": str(shared / unet), "steps": 2, "validations": 1},
        synthesis={"steps": 2, "batch_size": 4},
        classifier={"steps": 2, "round_steps": 2},
        judge={"steps": 2},
        embedder={"steps": 2},
        loop={"rounds": 1, "budget": 4},
        **sections,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("unet", "image_size"),
    [
        *((unet, 24) for unet in UNETS),
        *(pytest.param(unet, size, marks=pytest.mark.heavy) for unet in UNETS for size in (16, 32)),
    ],
)
def test_images_have_the_size_of_the_run_whatever_the_unet_came_from(
    shared: Path, unet: str, image_size: int
) -> None:
    if not (shared / "vae").exists():
        stable_diffusion(shared)
    if not (shared / unet).exists():
        stable_diffusion(shared / unet, **UNETS[unet])
    folder, _ = build.run(started(shared, image_size, unet))
    made = {name: folder.stage(f"rounds/0001/hard/{name}").path for name in ("synthesize", "accept")}
    images = np.load(made["synthesize"] / "images.npy")
    assert images.shape == (4, image_size, image_size, 3)
    latents = np.load(folder.stage("foundation/latents").path / "latents.npy", mmap_mode="r")
    trained = folder.stage("foundation/denoiser").path / "unet" / "config.json"
    assert json.loads(trained.read_text())["sample_size"] == latents.shape[-1] == image_size // 2
    assert len(pd.read_parquet(made["accept"] / "synthetic.parquet")) == 4
