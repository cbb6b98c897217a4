"""Builds the networks of a config without weights, for a plan: from the config, a folder's config.json, or published sizes.

Call under ``fake_tensors``: nothing is allocated, nothing downloaded. A pre-trained network has the shapes of its
config.json, in float32, as the stages load it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from engine.config import Config
from engine.config.pretrained_parts import read_facts
from engine.diffusion.denoiser import Denoiser, build_denoiser
from engine.diffusion.vae import build_vae
from engine.planning.setting import Setting
from engine.training.layout import lay_out

SD_UNET: Final[Mapping[str, Any]] = {
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
"""The U-Net of Stable Diffusion 1.5 (unet/config.json; the rest is diffusers' default): 859,520,964 parameters."""
SD_VAE: Final[Mapping[str, Any]] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
}
"""Its autoencoder (vae/config.json): 83,653,863 parameters."""
CLIP_TEXT: Final[Mapping[str, Any]] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
    "vocab_size": 49408,
    "projection_dim": 768,
}
"""The text tower of CLIP ViT-L/14, which is Stable Diffusion 1.5's text encoder: 123,060,480 parameters."""
CLIP_VISION: Final[Mapping[str, Any]] = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "projection_dim": 768,
}
"""The image tower of CLIP ViT-L/14 (Radford et al. 2021): 303,179,776 parameters."""


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """What ``small_clip`` asks of a tokenizer."""

    words: int
    model_max_length: int
    pad_token_id: int = 0
    bos_token_id: int = 2
    eos_token_id: int = 3

    def __len__(self) -> int:
        return self.words


def assumed(config: Config) -> list[str]:
    """Return the keys of pre-trained parts of whose size nothing is on this machine, so that published sizes are taken."""
    looked_at = {
        "embedder": (config.embedder.pretrained, "vision"),
        "vae": (config.vae.pretrained if config.vae.kind == "kl" else None, "vae"),
        "denoiser": (config.denoiser.pretrained, "unet"),
    }
    return [
        f"{section}.pretrained"
        for section, (given, part) in looked_at.items()
        if given is not None and not read_facts(given, part)
    ]


def denoiser(setting: Setting) -> Denoiser:
    """Return the U-Net with its lesion adapters."""
    config = setting.config.denoiser
    channels, side, _ = setting.latent
    width = prompt_shape(setting)[1]
    if config.pretrained is None:
        return build_denoiser(config, channels, side, width, lesion_width(setting), seed=0)
    from diffusers import UNet2DConditionModel

    facts = read_facts(config.pretrained, "unet") or SD_UNET
    changes = {"in_channels": channels, "out_channels": channels, "sample_size": side}
    return Denoiser(UNet2DConditionModel.from_config({**_plain(facts), **changes}), lesion_width(setting))


def autoencoder(setting: Setting) -> Any:
    """Return the VAE, None where pixels are diffused."""
    config = setting.config.vae
    if config.kind == "identity":
        return None
    if config.pretrained is None:
        vae = build_vae(config, setting.side, seed=0)
    else:
        from diffusers import AutoencoderKL

        facts = read_facts(config.pretrained, "vae") or SD_VAE
        vae = AutoencoderKL.from_config({**_plain(facts), "latent_channels": config.latent_channels})
    lay_out(vae, "cpu")
    return vae


def text_tower(setting: Setting) -> Any:
    """Return the network that makes prompt states: ``denoiser.pretrained``'s own, else the embedder's."""
    from transformers import CLIPTextConfig, CLIPTextModel

    pretrained = setting.config.denoiser.pretrained
    if pretrained is None and setting.config.embedder.pretrained is None:
        return clip(setting).text_model
    return CLIPTextModel(CLIPTextConfig(**_text_facts(setting)))


def clip(setting: Setting) -> Any:
    """Return the embedder: the small CLIP, or a pre-trained one with both towers."""
    from transformers import CLIPConfig, CLIPModel

    from engine.retrieval.clip import small_clip

    config = setting.config.embedder
    if config.pretrained is None:
        vocabulary = Vocabulary(words=setting.data.words, model_max_length=setting.data.tokens)
        return small_clip(config, setting.side, vocabulary, seed=0)
    vision, text = _clip_facts(config.pretrained)
    return CLIPModel(CLIPConfig(text_config=dict(text), vision_config=dict(vision), projection_dim=768))


def prompt_shape(setting: Setting) -> tuple[int, int]:
    """Return (P, W): tokens and width of a prompt's states."""
    if setting.config.denoiser.pretrained is None and setting.config.embedder.pretrained is None:
        return setting.data.tokens, setting.config.embedder.width
    facts = _text_facts(setting)
    return int(facts["max_position_embeddings"]), int(facts["hidden_size"])


def lesion_width(setting: Setting) -> int:
    """Return D, the width of a lesion's embeddings."""
    config = setting.config.embedder
    return (
        config.width if config.pretrained is None else int(_clip_facts(config.pretrained)[0]["hidden_size"])
    )


def lesion_tokens(setting: Setting) -> int:
    """Return T, how many tokens of a lesion the denoiser sees."""
    return setting.config.embedder.levels if setting.config.embedder.fuse == "concat" else 1


def _text_facts(setting: Setting) -> Mapping[str, Any]:
    given = setting.config.denoiser.pretrained
    if given is not None:
        return {**CLIP_TEXT, **_plain(read_facts(given, "text_encoder", top=False))}
    return _clip_facts(str(setting.config.embedder.pretrained))[1]


def _clip_facts(given: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the settings of the image tower and of the text tower of a pre-trained CLIP."""
    facts = read_facts(given, "vision")
    if not facts:
        return CLIP_VISION, CLIP_TEXT
    from transformers import CLIPTextConfig, CLIPVisionConfig

    vision = CLIPVisionConfig(**(facts.get("vision_config") or _plain(facts)))
    return vision.to_dict(), CLIPTextConfig(**facts.get("text_config", {})).to_dict()


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if not name.startswith("_")}
