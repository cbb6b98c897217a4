"""Gradients of several workers, averaged in buckets: beside them there is memory for one bucket alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final

import torch
import torch.distributed as dist
from torch import Tensor, nn

BUCKET: Final = 32 * 2**20
"""Bytes of gradients that go to the other workers together; a larger parameter goes alone."""


def average_gradients(parameters: Sequence[nn.Parameter], world: int, most: int = BUCKET) -> None:
    """Replace each gradient by its mean over ``world`` workers; a parameter unused on this worker counts as zero.

    ``most``: bytes per bucket.
    """
    for bucket in buckets(parameters, most):
        _average(bucket, world)


def _average(bucket: Sequence[nn.Parameter], world: int) -> None:
    """Average one bucket; what it takes is given back before the next one.

    Gradients keep their parameter's layout in memory: a fused step walks through both side by side.
    """
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
    together(gradients, partial(_mean, world=world))
    for parameter, gradient in zip(bucket, gradients, strict=True):
        parameter.grad = gradient


def _mean(flat: Tensor, world: int) -> None:
    dist.all_reduce(flat)
    flat /= world


def together(tensors: Sequence[Tensor], exchange: Callable[[Tensor], object]) -> None:
    """Give the tensors the values that ``exchange`` leaves in one flat copy of all of them."""
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    exchange(flat)
    pieces = torch.split(flat, [tensor.numel() for tensor in tensors])
    for tensor, piece in zip(tensors, pieces, strict=True):
        tensor.copy_(piece.view_as(tensor))


def buckets(parameters: Iterable[nn.Parameter], most: int = BUCKET) -> Iterator[list[nn.Parameter]]:
    """Yield the parameters in order, as many together as hold at most ``most`` bytes, and at least one."""
    bucket: list[nn.Parameter] = []
    held = 0
    for parameter in parameters:
        if bucket and held + parameter.nbytes > most:
            yield bucket
            bucket, held = [], 0
        bucket.append(parameter)
        held += parameter.nbytes
    if bucket:
        yield bucket


def bucket_bytes(parameters: Iterable[nn.Parameter]) -> int:
    """Return the bytes of the largest bucket."""
    return max((sum(p.nbytes for p in bucket) for bucket in buckets(parameters)), default=0)
