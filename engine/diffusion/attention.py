"""Attention of a denoiser that trains in bf16 on a CPU: plain products, as the fused kernel is slow there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from engine.training.loop import fused_is_slow
from engine.training.plan import TrainEnv


def choose_attention(model: Any, env: TrainEnv) -> None:
    """Let a Denoiser's blocks and adapters attend as is fastest where it is trained; its weights stay as they are.

    torch's own plain kernel (``SDPBackend.MATH``) looks for rows without any key, which these networks never have:
    without that look a training step takes 0.87 of the time (``experiments/results/benchmarks``).
    """
    if not fused_is_slow(env):
        return
    from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

    chosen = {
        name: AttnProcessor() if type(one) is AttnProcessor2_0 else one
        for name, one in model.unet.attn_processors.items()
    }
    model.unet.set_attn_processor(chosen)
    for adapter in model.adapters.values():
        adapter.plain = True


def plain_attention(query_BHND: Tensor, key_BHMD: Tensor, value_BHMD: Tensor) -> Tensor:
    """Return softmax(q k^T / sqrt(D)) v, (B, H, N, D), every key seen by every query."""
    batch, heads, count, width = query_BHND.shape
    query, key, value = (x.reshape(batch * heads, -1, width) for x in (query_BHND, key_BHMD, value_BHMD))
    unread = torch.empty(1, 1, 1, dtype=query.dtype, device=query.device).expand(
        len(query), count, key.shape[1]
    )
    score = torch.baddbmm(unread, query, key.transpose(1, 2), beta=0, alpha=width**-0.5)
    return torch.bmm(score.softmax(dim=-1), value).view(batch, heads, count, width)
