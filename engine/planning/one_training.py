"""What one training holds: weights, gradients, Adam's moments, the average, its data, and what a step works on.

``engine.training.loop`` keeps all of them in float32, whatever ``backend.precision`` says; what autocast copies is part of a
step. A step is run on fake tensors, forward and backward. Where workers share moments and average out, the largest share is
planned, and that the main worker gathers all of them for a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from engine.planning.live_memory import (
    LiveMemory,
    autocast,
    bytes_of,
    like_a_gpu,
    peak_of,
    weights_of,
)
from engine.planning.setting import Need, Setting, largest
from engine.training.checkpoints import learned_tensors
from engine.training.loop import attention
from engine.training.optimizers import moment_bytes, step_bytes
from engine.training.sharding import deal
from engine.training.workers import bucket_bytes


@dataclass(frozen=True, kw_only=True)
class Training:
    """A network, the loss of one piece of a batch, and what lies beside them.

    Attributes:
        model: built under fake tensors.
        loss: runs the forward pass of one piece.
        pieces: of a worker's share of a batch.
        averaged: whether an average of the weights is kept.
        optimizer: as the config names it.
        data: bytes on the device throughout.
        host: bytes in this machine's own memory throughout.
        look: what runs between steps, in float32 and without gradients.
        after: what runs when optimizer and average are gone.
        copied: share of the state that a checkpoint copies on a CPU.
    """

    model: nn.Module
    loss: Callable[[], Tensor]
    pieces: int = 1
    averaged: bool = False
    optimizer: str = "adamw"
    data: int = 0
    host: int = 0
    look: Callable[[], Any] | None = None
    after: Callable[[], Any] | None = None
    copied: float = 0.0

    def need(self, setting: Setting) -> Need:
        """Return what the training holds when it holds most."""
        if setting.gpu:
            like_a_gpu(self.model)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        weights, gradients = weights_of(self.model), bytes_of(trained)
        learned = bytes_of(learned_tensors(self.model))
        always = {"weights": weights, "data": self.data}
        saved = learned + moment_bytes(trained, self.optimizer) + (learned if self.averaged else 0)
        own = max(deal(trained, setting.owners), key=lambda part: moment_bytes(part, self.optimizer))
        state = always | {
            "moments": moment_bytes(own, self.optimizer),
            "average": learned - bytes_of(trained) + bytes_of(own) if self.averaged else 0,
        }
        step = peak_of_step(self.loss, self.model, self.pieces, setting)
        moments = [("in a step", state | {"gradients": gradients, "activations": max(0, step - gradients)})]
        held = state | {"gradients": gradients}
        if not setting.gpu and (copies := step_bytes(trained, self.optimizer)):
            moments.append(("while weights are updated", held | {"copies": copies}))
        looked = 0 if self.look is None else without_gradients(self.look)
        if self.look is not None:
            moments.append(("in the held-out loss", held | {"activations": looked}))
        if self.after is not None:
            left = looked if self.after is self.look else without_gradients(self.after)
            moments.append(("after the training", always | {"gradients": gradients, "activations": left}))
        if setting.world > 1:
            moments.append(("while workers average", held | {"one bucket": bucket_bytes(trained)}))
        gathered = saved - learned - state["moments"] - state["average"]
        if not setting.gpu and (copies := gathered + round(saved * self.copied)):
            moments.append(("in a checkpoint", held | {"copies": copies}))
        host = [self.host, *([saved] if setting.gpu else [])]  # a checkpoint is copied from the GPU whole
        return largest(moments, host=host, gpu=setting.gpu)


def peak_of_step(loss: Callable[[], Tensor], model: nn.Module, pieces: int, setting: Setting) -> int:
    """Return the most bytes that a step holds beside the weights, its gradients among them.

    With several pieces the second one finds the gradients of the first.
    """
    model.zero_grad(set_to_none=True)
    live = LiveMemory()
    with live, attention(setting.env):
        for _ in range(min(2, pieces)):
            with autocast(setting.precision):
                value = loss()
            value.backward()  # type: ignore[no-untyped-call]
    model.zero_grad(set_to_none=True)
    return live.peak


def without_gradients(work: Callable[[], Any]) -> int:
    """Return the most bytes that ``work`` holds without a backward pass."""
    with torch.no_grad():
        return peak_of(work)
