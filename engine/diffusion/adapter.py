"""The adapter of Kim et al., Eq. 2: lesion embeddings enter every transformer block of a plain U-Net.

    v = v + beta * tanh(gamma) * SelfAttn([v, e_m])   (visual tokens kept)

between self-attention and cross-attention, after GLIGEN. diffusers' transformer blocks call ``block.fuser`` at that
very place when ``cross_attention_kwargs["gligen"]`` is given; the adapters are put there without being registered, so
the U-Net keeps its own weights, saves and loads as plain diffusers, and without the argument nothing of it runs.

Shape legend: B batch, N visual tokens, T lesion tokens, D lesion width, C block width.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engine.diffusion.attention import plain_attention

GATE_SPEED = 10.0
"""Learning rate of gamma relative to the rest: at 1 the gates are still shut after hundreds of steps."""


class LesionAdapter(nn.Module):
    """Eq. 2 for one block; ``gamma`` starts at 0, so that a fresh adapter changes nothing.

    Only the rows of the self-attention that belong to visual tokens are computed: the others are thrown away. ``plain`` says
    whether it attends by plain products (``engine.diffusion.attention``).
    """

    def __init__(self, width: int, lesion_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = nn.Linear(lesion_width, width)
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width)
        self.gamma = nn.Parameter(torch.zeros(()))
        self.gamma.lr_scale = GATE_SPEED  # type: ignore[attr-defined]
        self.plain = False

    def forward(self, visual_BNC: Tensor, lesion: tuple[Tensor, float]) -> Tensor:
        """Return the adapted visual tokens (B, N, C); ``lesion`` is (tokens_BTD, beta)."""
        lesion_BTD, beta = lesion
        attended = self.attend(visual_BNC, self.project(lesion_BTD.to(visual_BNC.dtype)))
        return visual_BNC + beta * torch.tanh(self.gamma) * attended

    def attend(self, visual_BNC: Tensor, lesion_BTC: Tensor) -> Tensor:
        """Return SelfAttn([v, e_m]) at the visual tokens, (B, N, C)."""
        sequence = self.norm(torch.cat([visual_BNC, lesion_BTC], dim=1))
        visual = sequence[:, : visual_BNC.shape[1]]
        query, key, value = (
            layer(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, tokens in ((self.query, visual), (self.key, sequence), (self.value, sequence))
        )
        attention = plain_attention if self.plain else F.scaled_dot_product_attention
        mixed = attention(query, key, value)
        attended: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return attended


def transformer_blocks(unet: nn.Module) -> dict[str, Any]:
    """Return every transformer block of a U-Net by its dotted name, in order."""
    from diffusers.models.attention import BasicTransformerBlock

    return {
        name: module for name, module in unet.named_modules() if isinstance(module, BasicTransformerBlock)
    }


def make_adapters(unet: nn.Module, lesion_width: int) -> nn.ModuleDict:
    """Return a fresh adapter for every transformer block, keyed by its name with "-" for "."; not yet attached."""
    adapters = nn.ModuleDict()
    for name, block in transformer_blocks(unet).items():
        width = block.attn1.to_q.in_features
        adapters[name.replace(".", "-")] = LesionAdapter(width, lesion_width, block.attn1.heads)
    return adapters


def attach_adapters(unet: nn.Module, adapters: nn.ModuleDict) -> None:
    """Put the adapters into their blocks' fuser slot, outside the U-Net's registered modules."""
    for name, block in transformer_blocks(unet).items():
        block.__dict__["fuser"] = adapters[name.replace(".", "-")]
    unet.__dict__["position_net"] = pass_lesion


def pass_lesion(objs: tuple[Tensor, float]) -> tuple[Tensor, float]:
    """Stand where GLIGEN projects boxes: hand (tokens_BTD, beta) on unchanged."""
    return objs


def adapter_arguments(lesion_BTD: Tensor, beta: float) -> dict[str, Any] | None:
    """Return the U-Net's ``cross_attention_kwargs``; None at beta 0, which then runs the un-adapted U-Net exactly."""
    return None if beta == 0.0 else {"gligen": {"objs": (lesion_BTD, beta)}}


def gammas(adapters: nn.ModuleDict) -> dict[str, float]:
    """Return the learned gamma of each block by name, for the report of how much the adapters are used."""
    return {
        name.removesuffix(".gamma"): float(value)
        for name, value in adapters.state_dict().items()
        if name.endswith(".gamma")
    }
