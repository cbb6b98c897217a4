"""Builds the autoencoder: a thin AutoencoderKL from the config, or a pre-trained one re-fitted to its channels."""

from __future__ import annotations

from typing import Any

import torch

from engine.config import VaeConfig
from engine.config.pretrained_parts import vae_problems
from engine.diffusion.pretrained import PLAIN_LOADING, load_part, refit
from engine.errors import ConfigError


def build_vae(config: VaeConfig, image_size: int, seed: int) -> Any:
    """Return an untrained or pre-trained ``diffusers.AutoencoderKL``; initial weights depend on ``seed`` alone.

    A pre-trained one with other latent channels keeps every weight but the four convolutions whose shape depends on their
    number: ``encoder.conv_out``, ``quant_conv``, ``post_quant_conv``, ``decoder.conv_in``. Those are made anew (Kim et al.
    go from Stable Diffusion's 4 to 8); ``decoder.conv_in`` keeps its bias, whose shape stays.

    Raises:
        ConfigError: ``vae.pretrained`` cannot be loaded or downsamples differently from ``vae.downsample``.
    """
    from diffusers import AutoencoderKL

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if config.pretrained is None:
            return _thin_vae(config, image_size)
        source = load_part(
            AutoencoderKL,
            config.pretrained,
            "vae",
            "vae.pretrained",
            torch_dtype=torch.float32,
            **PLAIN_LOADING,
        )
        problems = list(vae_problems(source.config, config.pretrained, config.downsample))
        if problems:
            raise ConfigError("\n".join(problems))
        return refit(source, latent_channels=config.latent_channels)


def _thin_vae(config: VaeConfig, image_size: int) -> Any:
    """From scratch: no attention in the middle, which costs time and adds nothing at these sizes.

    Norms have one group: with several, each takes away the mean of a few channels, and with it an image's hue.
    """
    from diffusers import AutoencoderKL

    levels = len(config.widths)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=tuple(config.widths),
        layers_per_block=config.layers_per_block,
        latent_channels=config.latent_channels,
        norm_num_groups=1,
        sample_size=image_size,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )
