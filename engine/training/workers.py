"""Gradients of several workers, averaged in buckets: beside them there is memory for one bucket alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import torch
import torch.distributed as dist
from torch import nn

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
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= world
    pieces = torch.split(flat, [gradient.numel() for gradient in gradients])
    for parameter, gradient, piece in zip(bucket, gradients, pieces, strict=True):
        parameter.grad = gradient.copy_(piece.view_as(gradient))


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
