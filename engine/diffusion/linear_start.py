"""Starts a thin autoencoder as a linear one: its encoder gives the principal components of train patches.

From random weights a thin VAE spends its steps on what a linear map does at once, and loses colour on the way. Here
every residual branch starts at 0, so that the encoder is its strided and its 1x1 convolutions, and these are set to gather
patches and project them. What is left, norm and SiLU before the last convolution, is made linear too: each component comes
with its negative, for silu(x) - silu(-x) = x, and two large opposite channels keep the norm's divisor constant. Training
goes on from there; the result is a plain ``diffusers.AutoencoderKL``.

Shape legend: N images, h w positions, K codes a position, D = 4 K values gathered from 2 x 2 positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from engine.config import VaeConfig
from engine.types import ImageArray

FAINT = 0.01
"""What is left of a random initial weight where the linear map is written: enough to break ties."""
LOGVAR = -9.0
"""Log variance of the posterior at the start: well below that of the faintest component that is kept."""
LARGE = 8.0
"""Value of the two opposite channels that the last norm's divisor comes from; the codes are of order 1."""
MOST_PIXELS = 2**22
"""Pixels of train images that the components are computed from."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Projection:
    """Codes = ``map_KD`` (values - ``mean_D``)."""

    map_KD: Array
    mean_D: Array

    def __call__(self, values: Array) -> Array:
        """Return the codes (..., K) of values (..., D)."""
        return (values - self.mean_D) @ self.map_KD.T


def starts_linear(config: VaeConfig) -> bool:
    """Return whether a VAE of this config starts so: its last level must hold the components twice, and two constants."""
    fresh = config.kind == "kl" and config.pretrained is None
    return fresh and config.start == "linear" and config.widths[-1] >= 2 * config.latent_channels + 2


def most_images(side: int) -> int:
    """Return how many images of this side the components are computed from."""
    return max(1, MOST_PIXELS // side**2)


def components(values: Array, count: int) -> Projection:
    """Return the first ``count`` principal components of values (..., D), the first of unit standard deviation.

    The others keep the square root of their standard deviation against it: fainter than the first, as they matter less to
    the eye, but above the posterior's noise.
    """
    flat = values.reshape(-1, values.shape[-1])
    variance, vectors = np.linalg.eigh(np.cov(flat.T))
    order = np.argsort(variance)[::-1][:count]
    variance = np.maximum(variance[order], 1e-6 * max(float(variance[order[0]]), 1e-12))
    weight_K = (variance[0] * variance) ** -0.25
    return Projection(map_KD=weight_K[:, None] * vectors[:, order].T, mean_D=flat.mean(axis=0))


def gather(codes_NhwK: Array) -> Array:
    """Return (N, h/2, w/2, 4 K): the codes of 2 x 2 positions side by side, row by row."""
    count, height, width, size = codes_NhwK.shape
    blocks = codes_NhwK.reshape(count, height // 2, 2, width // 2, 2, size).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(count, height // 2, width // 2, 4 * size)


@torch.no_grad()
def start_linear(vae: Any, images_NHWC: ImageArray) -> None:
    """Set the weights of an untrained thin ``AutoencoderKL`` (norms of one group, no attention) as said above.

    Args:
        vae: from ``build_vae``; its initial weights are kept, made faint, where nothing is written.
        images_NHWC: train images, uint8 (``most_images`` of them are enough).
    """
    codes = np.asarray(images_NHWC, dtype=np.float64) / 127.5 - 1.0
    encoder, latent = vae.encoder, int(vae.config.latent_channels)
    for part in (vae.encoder, vae.decoder):
        _rest_residuals(part)
    levels = len(encoder.down_blocks)
    found = components(codes, min(latent, 3)) if levels == 1 else _identity(3)
    shortcut = _shortcut(encoder.down_blocks[-1])
    _write(encoder.conv_in, found, 1, pairs=levels == 1)
    codes = found(codes)
    for level, block in enumerate(encoder.down_blocks[:-1]):
        if _shortcut(block) is not None:
            _write(_shortcut(block), _identity(codes.shape[-1]), 1)
        last = level == levels - 2
        values, conv = gather(codes), block.downsamplers[0].conv
        room = min(values.shape[-1], conv.out_channels, latent if last else conv.out_channels)
        whole = not last and room == values.shape[-1]
        found = _identity(room) if whole else components(values, room)
        _write(conv, found, 2, pairs=last and shortcut is None)
        codes = found(values)
    if levels > 1 and shortcut is not None:
        _write(shortcut, _identity(codes.shape[-1]), 1, pairs=True)
    _read_pairs(vae, codes.shape[-1], latent)


def _rest_residuals(part: nn.Module) -> None:
    """Let every residual branch of an encoder or decoder start at 0."""
    from diffusers.models.resnet import ResnetBlock2D

    for block in part.modules():
        if isinstance(block, ResnetBlock2D):
            block.conv2.weight.zero_()
            block.conv2.bias.zero_()


def _shortcut(block: Any) -> Any:
    return block.resnets[0].conv_shortcut


def _identity(size: int) -> Projection:
    return Projection(map_KD=np.eye(size), mean_D=np.zeros(size))


def _write(conv: Any, found: Projection, side: int, *, pairs: bool = False) -> None:
    """Let ``conv`` compute the projection of side x side positions in its first channels.

    With ``pairs`` the negatives come next, then the two constants. A kernel of 3 that does not stride reads its middle; one
    that strides reads the 2 x 2 from its corner on (diffusers pads below and to the right).
    """
    conv.weight.mul_(FAINT)
    conv.bias.zero_()
    count, size = found.map_KD.shape[0], found.map_KD.shape[1] // side**2
    kernel = (
        torch.from_numpy(found.map_KD.reshape(count, side, side, size)).permute(0, 3, 1, 2).to(conv.weight)
    )
    offset = torch.from_numpy(found.map_KD @ found.mean_D).to(conv.bias)
    corner = conv.kernel_size[0] // 2 if side == 1 else 0
    for start, sign in ((0, 1), (count, -1)) if pairs else ((0, 1),):
        rows = slice(start, start + count)
        conv.weight[rows, :size, corner : corner + side, corner : corner + side] += sign * kernel
        conv.bias[rows] -= sign * offset
    if pairs:
        conv.bias[2 * count] += LARGE
        conv.bias[2 * count + 1] -= LARGE


def _read_pairs(vae: Any, count: int, latent: int) -> None:
    """Let the end of the encoder give the components as posterior means, and the decoder take them as they are."""
    norm, conv = vae.encoder.conv_norm_out, vae.encoder.conv_out
    norm.weight.fill_((2 * LARGE**2 / norm.num_channels) ** 0.5)
    norm.bias.zero_()
    conv.weight.mul_(FAINT)
    conv.bias.zero_()
    conv.bias[latent:] = LOGVAR
    for k in range(count):
        conv.weight[k, k, 1, 1] += 1.0
        conv.weight[k, count + k, 1, 1] -= 1.0
    for pointwise in (vae.quant_conv, vae.post_quant_conv):
        pointwise.bias.zero_()
        nn.init.dirac_(pointwise.weight)
