"""Batch normalisation with statistics of their own for synthetic images, under the state-dict names of the one it replaces.

Xie et al. 2020 (AdvProp): images of another distribution that are normalised together with real ones blur the statistics
real images meet at inference. Here a training batch's real and synthetic images are normalised apart; the running
statistics come from the real ones alone. Gains and offsets are shared (AdvProp's auxiliary layer has its own).

Shape legend: B images of a batch, C channels.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from engine.classifier.batchnorm import AdoptedBatchNorm, replace_batch_norm

FEWEST = 2
"""Images of either kind without which a batch is not split: one alone has no spread to divide by."""


class Origin:
    """Which images of the batch at hand are synthetic: set before each forward pass, read by all layers of a model."""

    def __init__(self) -> None:
        self.synthetic_B: Tensor | None = None

    def set(self, synthetic_B: Tensor) -> None:
        """Take a batch's booleans; a batch with fewer than FEWEST images of either kind is not split."""
        count = int(synthetic_B.sum())
        self.synthetic_B = synthetic_B if FEWEST <= count <= len(synthetic_B) - FEWEST else None


class SplitBatchNorm(AdoptedBatchNorm):
    """A batch norm that normalises a training batch's synthetic images by themselves."""

    def __init__(self, source: _BatchNorm, origin: Origin) -> None:
        super().__init__(source)
        self.origin = origin

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, ...); by the running statistics in eval mode."""
        synthetic_B = self.origin.synthetic_B
        if not self.training or synthetic_B is None:
            return self._normalise(x, self.running_mean, self.running_var)
        real = self._normalise(x[~synthetic_B], self.running_mean, self.running_var)
        y = torch.empty(x.shape, dtype=real.dtype, device=x.device)
        y[~synthetic_B] = real
        y[synthetic_B] = self._normalise(x[synthetic_B], None, None)
        return y.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else y

    def _normalise(self, x: Tensor, mean_C: Tensor | None, variance_C: Tensor | None) -> Tensor:
        """Batch norm as torch does it; running statistics that are given are used in eval mode and updated in training."""
        training = self.training or mean_C is None
        y = F.batch_norm(x, mean_C, variance_C, self.weight, self.bias, training, self.momentum, self.eps)
        if self.training and mean_C is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        activated: Tensor = self.act(self.drop(y))
        return activated


def split_batch_norm(model: nn.Module, origin: Origin) -> nn.Module:
    """Replace every batch norm of ``model`` in place; state-dict names stay."""
    return replace_batch_norm(model, partial(SplitBatchNorm, origin=origin))
