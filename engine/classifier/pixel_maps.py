"""Convolutions over maps of a single pixel, where small images end: only the kernel's centre meets anything but padding.

A ResNet with its published stem has 1x1 maps in its last block at 32 px; a convolution there multiplies its input with
eight ninths of a kernel's weights for nothing, which is a tenth of a ResNet18's training step there on a CPU
(``experiments/results/train_speed``).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class PixelConv2d(nn.Conv2d):
    """A convolution that is a matrix product by its kernel's centre where the input is one pixel; else itself."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (N, C, H, W) as ``nn.Conv2d`` does, up to rounding; the other taps' gradients are exactly 0."""
        if input.shape[-2:] != (1, 1):
            return super().forward(input)
        row, column = (side // 2 for side in self.kernel_size)
        return F.linear(input.flatten(1), self.weight[:, :, row, column], self.bias)[:, :, None, None]


def shortcut_pixel_maps(model: nn.Module) -> None:
    """Let every convolution of ``model`` that keeps a single pixel's place take the shortcut; state-dict names stay."""
    for layer in model.modules():
        if type(layer) is nn.Conv2d and _centred(layer):
            layer.__class__ = PixelConv2d


def _centred(layer: nn.Conv2d) -> bool:
    """Whether one pixel gives one pixel, through the centre alone: odd sides, half a side of zeros, no groups."""
    half = tuple(
        dilation * (side // 2) for side, dilation in zip(layer.kernel_size, layer.dilation, strict=True)
    )
    odd = all(side % 2 == 1 for side in layer.kernel_size)
    return odd and layer.padding == half and layer.padding_mode == "zeros" and layer.groups == 1
