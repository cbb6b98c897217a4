"""The denoiser: a plain UNet2DConditionModel with prompt cross-attention, and beside it the lesion adapters.

Shape legend: B batch, c latent channels, h w latent side, P prompt tokens, W prompt width, T lesion tokens, D width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from engine.config import DenoiserConfig
from engine.config.pretrained_parts import unet_problems
from engine.diffusion.adapter import adapter_arguments, attach_adapters, make_adapters
from engine.diffusion.pretrained import PLAIN_LOADING, load_part, refit
from engine.errors import ConfigError
from engine.training.checkpoints import save_tensors


class Denoiser(nn.Module):
    """U-Net and adapters as one module, so that EMA and checkpoints cover both.

    ``null_D`` is the learned token that stands for "no lesion given".
    """

    def __init__(self, unet: Any, lesion_width: int) -> None:
        super().__init__()
        self.unet = unet
        self.adapters = make_adapters(unet, lesion_width)
        self.null_D = nn.Parameter(torch.zeros(lesion_width))
        attach_adapters(self.unet, self.adapters)

    def forward(
        self, noisy_Bchw: Tensor, timestep_B: Tensor, prompt_BPW: Tensor, lesion_BTD: Tensor, beta: float
    ) -> Tensor:
        """Return the prediction (B, c, h, w); ``beta`` 0 runs the un-adapted U-Net exactly."""
        output: Tensor = self.unet(
            noisy_Bchw,
            timestep_B,
            encoder_hidden_states=prompt_BPW,
            cross_attention_kwargs=adapter_arguments(lesion_BTD, beta),
            return_dict=False,
        )[0]
        return output

    def null_lesion(self, count: int, tokens: int) -> Tensor:
        """Return the null embedding as (count, tokens, D)."""
        return self.null_D.expand(count, tokens, -1)

    def drop_lesion(self, lesion_BTD: Tensor, drop_B: Tensor) -> Tensor:
        """Exchange the lesion tokens of the marked examples by the null embedding."""
        return torch.where(drop_B[:, None, None], self.null_D.to(lesion_BTD.dtype), lesion_BTD)


def build_denoiser(
    config: DenoiserConfig, channels: int, side: int, prompt_width: int, lesion_width: int, seed: int
) -> Denoiser:
    """Return an untrained (or pre-trained) denoiser; initial weights depend on ``seed`` alone.

    Args:
        config: the ``denoiser`` section.
        channels: latent channels; a pre-trained U-Net with others gets a new ``conv_in`` and ``conv_out``.
        side: latent side, cells.
        prompt_width: width of the prompt states.
        lesion_width: D of the lesion embeddings.
        seed: of the initial weights.

    Raises:
        ConfigError: ``denoiser.pretrained`` cannot be loaded or needs what no stage gives (``unet_problems``).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if config.pretrained is None:
            unet = _scratch_unet(config, channels, side, prompt_width)
        else:
            unet = _pretrained_unet(config.pretrained, channels, prompt_width)
            unet.register_to_config(sample_size=side)  # what it is trained at from here on
        return Denoiser(unet, lesion_width)


def attention_levels(widths: Sequence[int], side: int, largest: int) -> list[bool]:
    """Return for each level, finest first, whether it has transformer blocks (up to ``largest``; the coarsest has)."""
    flags = [side // 2**level <= largest for level in range(len(widths))]
    return [*flags[:-1], True]


def _scratch_unet(config: DenoiserConfig, channels: int, side: int, prompt_width: int) -> Any:
    from diffusers import UNet2DConditionModel

    attend = attention_levels(config.widths, side, config.attention_side)
    heads = [max(1, width // config.head_dim) for width in config.widths]
    return UNet2DConditionModel(
        sample_size=side,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=tuple(config.widths),
        layers_per_block=config.layers_per_block,
        down_block_types=tuple("CrossAttnDownBlock2D" if flag else "DownBlock2D" for flag in attend),
        up_block_types=tuple("CrossAttnUpBlock2D" if flag else "UpBlock2D" for flag in reversed(attend)),
        attention_head_dim=tuple(heads),  # diffusers reads this field as the number of heads
        cross_attention_dim=prompt_width,
        addition_embed_type="text",  # the pooled prompt also steers every residual block, which learns sooner
        addition_embed_type_num_heads=1,
        resnet_time_scale_shift="scale_shift",
        norm_num_groups=norm_groups(config.widths),
    )


def _pretrained_unet(pretrained: str, channels: int, prompt_width: int) -> Any:
    from diffusers import UNet2DConditionModel

    source = load_part(
        UNet2DConditionModel,
        pretrained,
        "unet",
        "denoiser.pretrained",
        torch_dtype=torch.float32,
        **PLAIN_LOADING,
    )
    problems = list(unet_problems(source.config, pretrained, prompt_width))
    if problems:
        raise ConfigError("\n".join(problems))
    return refit(source, in_channels=channels, out_channels=channels)


def norm_groups(widths: Sequence[int]) -> int:
    """Return how many groups GroupNorm uses: the most that divide every width, with 4 or more channels each, <= 32."""
    common = math.gcd(*widths)
    return next(groups for groups in (32, 16, 8, 4, 2, 1) if common % groups == 0 and common // groups >= 4)


def save_denoiser(model: Denoiser, folder: Path) -> None:
    """Write ``unet/`` (plain diffusers, safetensors) and ``adapter.safetensors`` (adapters and null embedding)."""
    model.unet.save_pretrained(folder / "unet", safe_serialization=True)
    tensors = {f"adapters.{name}": value for name, value in model.adapters.state_dict().items()}
    tensors["null"] = model.null_D
    save_tensors(tensors, folder / "adapter.safetensors")


def load_denoiser(folder: Path, device: str = "cpu") -> Denoiser:
    """Open what ``save_denoiser`` wrote, ready to sample: evaluation mode, no gradients."""
    from diffusers import UNet2DConditionModel

    tensors = load_file(folder / "adapter.safetensors")
    unet = UNet2DConditionModel.from_pretrained(
        folder / "unet", torch_dtype=torch.float32, local_files_only=True, **PLAIN_LOADING
    )
    model = Denoiser(unet, len(tensors["null"]))
    prefix = "adapters."
    model.adapters.load_state_dict(
        {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    )
    model.null_D.data.copy_(tensors["null"])
    return model.to(device).eval().requires_grad_(False)
