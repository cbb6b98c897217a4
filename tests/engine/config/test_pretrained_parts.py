"""Pre-trained parts that cannot work are refused by their config.json, with key, value and remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine import build
from engine.config.loading import parse_config

VAE = {"_class_name": "AutoencoderKL", "block_out_channels": [8, 16, 32], "in_channels": 3, "out_channels": 3}
UNET = {
    "_class_name": "UNet2DConditionModel",
    "cross_attention_dim": 768,
    "sample_size": 64,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
}


def checkpoint(folder: Path, vae: dict[str, Any] | None = None, unet: dict[str, Any] | None = None) -> str:
    """Write the config.json of each part, as Stable Diffusion 1.5's but for the changes; return the folder."""
    parts = {"vae": VAE | (vae or {}), "unet": UNET | (unet or {}), "text_encoder": {"hidden_size": 768}}
    for part, facts in parts.items():
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text(json.dumps(facts))
    (folder / "tokenizer").mkdir()
    return str(folder)


def problems(vae: str | None = None, denoiser: str | None = None, **settings: Any) -> list[str]:
    tree = {"vae": {"pretrained": vae, **settings}, "denoiser": {"pretrained": denoiser}}
    return build.model_problems(parse_config(tree))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"block_out_channels": [8, 16, 32, 64]}, "vae.downsample is 4, but {0!r} downsamples by 8; set vae.downsample=8"),
        ({"block_out_channels": [8] * 5}, "vae.pretrained: {0!r} downsamples by 16; give one that downsamples"),
        ({"_class_name": "VQModel"}, "vae.pretrained: {0!r} is a VQModel; give an AutoencoderKL of RGB images, or null"),
        ({"in_channels": 4}, "vae.pretrained: {0!r} has in_channels 4; give an AutoencoderKL of RGB images, or null"),
    ],
)  # fmt: skip
def test_a_vae_that_cannot_work(tmp_path: Path, facts: dict[str, Any], message: str) -> None:
    given = checkpoint(tmp_path / "sd", vae=facts)
    (found,) = problems(vae=given)
    assert found.startswith(message.format(given))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"addition_embed_type": "text_time"}, "needs conditions besides the prompt (addition_embed_type 'text_time')"),
        ({"num_class_embeds": 1000}, "needs conditions besides the prompt (num_class_embeds 1000)"),
        ({"encoder_hid_dim": 4096}, "needs conditions besides the prompt (encoder_hid_dim 4096)"),
        ({"cross_attention_dim": 1024}, "expects prompts of width 1024, its text encoder gives 768; use a checkpoint"),
        ({"_class_name": "SD3Transformer2DModel"}, "is a SD3Transformer2DModel; give a U-Net in the layout of Stable"),
        ({"down_block_types": ["DownBlock2D"]}, "has no transformer block, so no place for the lesion's adapter"),
        ({"down_block_types": ["SimpleCrossAttnDownBlock2D"]}, "has no transformer block"),
    ],
)  # fmt: skip
def test_a_unet_that_cannot_work(tmp_path: Path, facts: dict[str, Any], message: str) -> None:
    given = checkpoint(tmp_path / "sd", unet=facts)
    (found,) = problems(denoiser=given)
    assert found.startswith(f"denoiser.pretrained: {given!r} {message}")


@pytest.mark.parametrize("part", ["text_encoder", "tokenizer"])
def test_a_unet_without_its_prompts(tmp_path: Path, part: str) -> None:
    given = checkpoint(tmp_path / "sd")
    (tmp_path / "sd" / part).rename(tmp_path / "gone")
    (found,) = problems(denoiser=given)
    assert found.startswith(f"denoiser.pretrained: {given} has no {part}")
    assert found.endswith(f"give the folder of a whole checkpoint, {part} included")


@pytest.mark.parametrize(
    "unet", [{}, {"sample_size": 96}, {"in_channels": 9}, {"addition_embed_type": "text"}]
)
def test_what_differs_and_works(tmp_path: Path, unet: dict[str, Any]) -> None:
    given = checkpoint(tmp_path / "sd", unet=unet)
    assert problems(vae=given, denoiser=given) == []
    assert problems(vae=given, kind="identity", downsample=1) == []


def test_image_sizes_that_only_a_unet_from_scratch_cannot_halve() -> None:
    tree: dict[str, Any] = {"data": {"image_size": 40}}
    with pytest.raises(Exception, match=r"image_size .40. must be a multiple of vae.downsample x 2.*= 16"):
        parse_config(tree)
    assert parse_config({**tree, "denoiser": {"pretrained": "org/sd"}}).data.image_size == 40
