"""Adapts the first layers of known architectures to small images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from torch import nn

Stem = Literal["library", "small", "unstrided"]
"""library: as published; small: re-made for small images; unstrided: small, but every published weight still fits."""

_STEMS: tuple[tuple[str, str, str], ...] = (
    ("", "conv1", "maxpool"),
    ("features", "conv0", "pool0"),
    ("", "conv_stem", ""),
)
"""(owner, first convolution, pool to drop): resnets; densenets; efficientnets and mobilenets."""


def adapt_stem(model: Any, image_size: int, n_classes: int, stem: Stem) -> bool:
    """Adapt the stem in place, so that a small image is not shrunk to nothing before the first block.

    Resnets (and whatever has their ``conv1`` and ``maxpool``): 3x3 stride 1, no pooling (He et al. 2015, CIFAR);
    densenets, efficientnets and mobilenets: first stride 1; VGGs: two 512-wide layers at the end instead of 4096.

    Returns:
        False where the architecture has no stem we know; it is then left as it is.
    """
    if type(model).__name__ == "VGG" and hasattr(model, "pre_logits"):
        if stem == "small":
            _small_vgg_head(model, image_size, n_classes)
        return True
    for owner, convolution, pool in _STEMS:
        holder = model.get_submodule(owner) if _has(model, owner) else None
        if holder is None or not isinstance(getattr(holder, convolution, None), nn.Conv2d | nn.Sequential):
            continue
        if pool and not hasattr(holder, pool):
            continue
        _unstride(holder, convolution, stem)
        if pool:
            setattr(holder, pool, nn.Identity())
        return True
    return False


def _has(model: nn.Module, owner: str) -> bool:
    return owner == "" or owner in dict(model.named_children())


def _unstride(holder: nn.Module, name: str, stem: Stem) -> None:
    """Set stride 1; a plain 7x7 stem becomes 3x3 where no published weights must fit."""
    layer = getattr(holder, name)
    first = next(m for m in layer.modules() if isinstance(m, nn.Conv2d))
    first.stride = (1, 1)
    if stem == "small" and layer is first and first.kernel_size > (3, 3):
        small = nn.Conv2d(first.in_channels, first.out_channels, 3, padding=1, bias=first.bias is not None)
        nn.init.kaiming_normal_(small.weight, mode="fan_out", nonlinearity="relu")
        setattr(holder, name, small)


def _small_vgg_head(model: Any, image_size: int, n_classes: int) -> None:
    """Two 512-wide layers on the last feature grid instead of two 4096-wide ones on 7x7 (119 million weights)."""
    make: Callable[..., nn.Module] = type(model.pre_logits)
    model.pre_logits = make(
        model.num_features, 512, kernel_size=min(7, max(1, image_size // 32)), drop_rate=0.2
    )
    for layer in model.pre_logits.modules():
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    model.head = type(model.head)(512, n_classes, pool_type="avg")
