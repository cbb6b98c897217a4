"""Which weights of a denoiser are trained: all of them, its lesion adapters, or these and low-rank additions to attention.

Adapters beside a frozen U-Net are GLIGEN's way (Li et al. 2023). The additions are LoRA's (Hu et al. 2021); they are torch
parametrizations, merged into the weights at the end, so that what is saved is a plain U-Net either way.

Shape legend: O outputs, I inputs, R rank of an addition.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from engine.config import DenoiserConfig
from engine.diffusion.adapter import transformer_blocks
from engine.diffusion.denoiser import Denoiser
from engine.diffusion.pretrained import remade


class LowRank(nn.Module):
    """W + B A (Hu et al. 2021, Eq. 3); B starts at 0, so that a fresh addition changes nothing."""

    def __init__(self, weight_OI: Tensor, rank: int) -> None:
        super().__init__()
        outputs, inputs = weight_OI.shape
        self.down_RI = nn.Parameter(torch.empty(rank, inputs, device=weight_OI.device))
        self.up_OR = nn.Parameter(torch.zeros(outputs, rank, device=weight_OI.device))
        nn.init.kaiming_uniform_(self.down_RI, a=math.sqrt(5))

    def forward(self, weight_OI: Tensor) -> Tensor:
        """Return the weight with its addition, in float32 whatever surrounds it: what is merged is what trained."""
        with torch.autocast(weight_OI.device.type, enabled=False):
            return weight_OI + self.up_OR @ self.down_RI


def choose_trained(model: Denoiser, config: DenoiserConfig, seed: int) -> None:
    """Freeze what ``denoiser.train`` leaves as it is, and add what it asks for; ``all`` changes nothing.

    The adapters, the null embedding, and layers of the U-Net that were made anew for other channels are always trained.

    Args:
        model: on the CPU, before its optimizer is made.
        config: the ``denoiser`` section.
        seed: of the additions' initial weights.
    """
    if config.train == "all":
        return
    anew = set(remade(model.unet))
    for name, parameter in model.unet.named_parameters():
        parameter.requires_grad_(name in anew)
    if config.train == "lora":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for layer in projections(model.unet):
                rank = min(config.lora_rank, *layer.weight.shape)
                parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank))


def merge(model: Denoiser) -> None:
    """Merge the additions into their weights, in place; a model without any stays as it is."""
    for layer in projections(model.unet):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def projections(unet: nn.Module) -> Iterator[nn.Linear]:
    """Yield the query, key, value and output projections of every attention layer, in order."""
    for block in transformer_blocks(unet).values():
        for attention in (block.attn1, block.attn2):
            if attention is not None:
                yield from (attention.to_q, attention.to_k, attention.to_v, attention.to_out[0])
