"""Batch normalisation over the global batch of several workers, with the state-dict names of the one it replaces.

Ioffe and Szegedy 2015 with statistics over all workers. torch's SyncBatchNorm needs a GPU; this one works with gloo
and is used only when there is more than one worker, so that two workers follow the loss curve of one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class _SumOverWorkers(torch.autograd.Function):
    """The sum of a tensor over workers; the gradient of a sum is the sum of the gradients."""

    @staticmethod
    def forward(_ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total


def sum_over_workers(value: Tensor) -> Tensor:
    """Return the sum of ``value`` over all workers, differentiable."""
    total = _SumOverWorkers.apply(value)
    assert isinstance(total, Tensor)
    return total


class AdoptedBatchNorm(nn.Module):
    """Takes over the parameters and buffers of a batch norm (and timm's fused ``drop`` and ``act``), names and all.

    Args:
        source: the layer replaced; its tensors are shared, not copied.
    """

    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(self, source: _BatchNorm) -> None:
        super().__init__()
        self.eps = source.eps
        self.momentum = 0.1 if source.momentum is None else source.momentum
        self.weight = source.weight
        self.bias = source.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(source, name))
        self.drop = getattr(source, "drop", None) or nn.Identity()
        self.act = getattr(source, "act", None) or nn.Identity()


class GlobalBatchNorm(AdoptedBatchNorm):
    """A batch norm over the global batch."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, ...) over N and space of every worker's shard; running statistics in eval mode."""
        shape = (1, -1) + (1,) * (x.ndim - 2)
        if not self.training and self.running_mean is not None and self.running_var is not None:
            mean_C, variance_C = self.running_mean, self.running_var
        else:
            mean_C, variance_C = self._global_statistics(x.float())
        y = (x.float() - mean_C.view(shape)) * torch.rsqrt(variance_C.view(shape) + self.eps)
        if self.weight is not None:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        activated: Tensor = self.act(self.drop(y.to(x.dtype)))
        return activated

    def _global_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Two passes (mean, then centred squares): E[x^2] - E[x]^2 loses digits in float32."""
        axes = [axis for axis in range(x.ndim) if axis != 1]
        count = torch.tensor(float(x.numel() // x.shape[1]), device=x.device)
        dist.all_reduce(count)
        mean_C = sum_over_workers(x.sum(axes)) / count
        centred = x - mean_C.view((1, -1) + (1,) * (x.ndim - 2))
        variance_C = sum_over_workers(centred.square().sum(axes)) / count
        if self.training and self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                unbiased_C = variance_C * (count / (count - 1).clamp(min=1))
                self.running_mean.lerp_(mean_C, self.momentum)
                self.running_var.lerp_(unbiased_C, self.momentum)
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked.add_(1)
        return mean_C, variance_C


def globalize_batch_norm(model: nn.Module) -> nn.Module:
    """Replace every batch norm of ``model`` by a global one; see ``replace_batch_norm``."""
    return replace_batch_norm(model, GlobalBatchNorm)


def replace_batch_norm(model: nn.Module, make: Callable[[_BatchNorm], nn.Module]) -> nn.Module:
    """Replace every batch norm of ``model`` in place (the model itself may be one); state-dict names stay."""
    if isinstance(model, _BatchNorm):
        return make(model)
    for name, child in list(model.named_children()):
        setattr(model, name, replace_batch_norm(child, make))
    return model
