"""Convolutions over maps of a few pixels, where small images end, as one matrix product.

A ResNet's last block has 2x2 maps at 64 px and 1x1 maps at 32 px. A CPU's convolution kernels are made for large maps: there
they take several times as long as a matrix product of the same numbers, most of all backwards
(``experiments/results/train_speed``). Taps of the kernel that meet nothing but padding are left out.

Shape legend: N images, C and O channels in and out, H, W height and width of a map.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LARGEST = 4
"""Pixels of the output up to which the product is faster; with 16 it is slower."""


class SmallMapConv2d(nn.Conv2d):
    """A convolution that is a matrix product where its output has at most LARGEST pixels, on a CPU; else itself."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (N, C, H, W) as ``nn.Conv2d`` does, up to rounding; idle taps' gradients are exactly 0."""
        height, width = (self._out(input.shape[axis], axis - 2) for axis in (2, 3))
        if height * width > LARGEST or input.device.type != "cpu":
            return super().forward(input)
        rows, columns = (
            self._taps(side, out, axis)
            for axis, (side, out) in enumerate(zip(input.shape[2:], (height, width), strict=True))
        )
        pixels = input.permute(0, 2, 3, 1)
        (above, beside) = (int(side) for side in self.padding)
        if above or beside:
            pixels = F.pad(pixels, (0, 0, beside, beside, above, above))
        (down, along), (far, wide) = self.stride, self.dilation
        seen = [
            pixels[:, y : y + down * (height - 1) + 1 : down, x : x + along * (width - 1) + 1 : along]
            for y in (tap * far for tap in rows)
            for x in (tap * wide for tap in columns)
        ]
        kernel = self.weight.permute(0, 2, 3, 1)
        kernel = kernel[:, rows.start : rows.stop, columns.start : columns.stop]
        product = F.linear(torch.cat(seen, dim=-1), kernel.reshape(self.out_channels, -1), self.bias)
        return product.permute(0, 3, 1, 2)

    def _out(self, side: int, axis: int) -> int:
        """Return the output's side."""
        reach = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
        return (side + 2 * int(self.padding[axis]) - reach) // self.stride[axis] + 1

    def _taps(self, side: int, out: int, axis: int) -> range:
        """Return the taps that meet a pixel of the map for at least one output."""
        kernel, stride, dilation = self.kernel_size[axis], self.stride[axis], self.dilation[axis]
        padding = int(self.padding[axis])
        meets = [
            tap
            for tap in range(kernel)
            if any(0 <= place * stride + tap * dilation - padding < side for place in range(out))
        ]
        return range(meets[0], meets[-1] + 1) if meets else range(kernel)


def shorten_small_maps(model: nn.Module) -> None:
    """Let every convolution of ``model`` with zero padding and one group take the shortcut; state-dict names stay."""
    for layer in model.modules():
        plain = type(layer) is nn.Conv2d and layer.groups == 1 and layer.padding_mode == "zeros"
        if plain and not isinstance(layer.padding, str):
            layer.__class__ = SmallMapConv2d
