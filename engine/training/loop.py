"""One training loop for every part: seeded a step, checkpointed, resumable, identical in any process.

The batch and the noise of step t depend on (seed, name, t) alone, so a killed training that resumes from its
checkpoint ends in the same bits as one that was not killed. With several workers each takes its slice of the same
global batch and gradients are averaged, so the loss agrees with one worker's up to float32 rounding; whether they share
moments and average out (``engine.training.sharding``) changes no bit.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from engine.errors import StageError
from engine.training.checkpoints import identity_of, resume, save_checkpoint, state_of
from engine.training.optimizers import in_groups, make_optimizer, set_rate
from engine.training.plan import (
    CheckpointClock,
    FloatWeights,
    TrainEnv,
    TrainPlan,
    derive_seed,
    draw_rows,
    learning_rate,
    step_generator,
)
from engine.training.sharding import Shares
from engine.training.stop_request import deferred, requested
from engine.training.workers import average_gradients


@dataclass(frozen=True, kw_only=True)
class TrainLog:
    """The loss of every step, and the steps that ran in this process (fewer than all after a resume)."""

    losses: list[float]
    resumed_from: int


Draw = Callable[[int], npt.NDArray[np.int64]]
"""Called with a 0-based step; returns the rows of its global batch, the same ones every time."""


class Watcher(Protocol):
    """Looks at a training on its way, while the model has its EMA weights."""

    def looks_at(self, steps_done: int) -> bool:
        """Whether it is to be called after so many steps: the same answer on every worker."""
        ...

    def __call__(self, steps_done: int) -> None:
        """Called on the main worker after the step; steps since the last checkpoint come again after a kill."""
        ...


class Objective(Protocol):
    """What a trainer supplies: the loss on one shard of a batch, as a scalar.

    Its mean over workers must be the loss of the global batch, also of shards of unequal size: ``TrainEnv.share_of_mean``.
    To be trained with ``accumulate`` above 1 it is a dataclass that slices its draws by its field ``env``.
    """

    def __call__(self, rows: npt.NDArray[np.int64], step: int, generator: torch.Generator) -> Tensor:
        """Return the loss of the examples ``rows``; draw all randomness from ``generator``."""
        ...


@deferred()
def train(
    model: nn.Module,
    objective: Objective,
    weights_N: FloatWeights | Draw,
    plan: TrainPlan,
    env: TrainEnv,
    checkpoint: Path,
    watcher: Watcher | None = None,
) -> TrainLog:
    """Train ``model`` in place for ``plan.steps`` steps; on return it holds the EMA weights where ``ema`` > 0.

    Buffers are the main worker's business: where workers share the state out, it alone has their average.

    Batches are drawn by weights (``draw_rows``), or by a function of the step.

    A checkpoint (model, EMA, optimizer, step, losses) is written to ``checkpoint`` every ``checkpoint_every`` steps, but
    not within ``env.checkpoint_minutes`` of the last one, and resumed from where it is whole and of this plan and model.
    One more is written after a step in which ``env.warned`` tells that a machine is about to go. Where workers share the
    state out (``env.shares_state``) the main one gathers it for a checkpoint, which is the same file.
    ``objective`` computes the loss with ``model`` in the mode it was given.

    A request to stop (``engine.training.stop_request``) is followed after the step, with a checkpoint of it.

    Raises:
        StageError: the loss is not finite; names the step, the last good checkpoint stays.
    """
    env.begin()
    draw = weights_N if callable(weights_N) else partial(draw_rows, weights_N, plan)
    model.to(env.device)
    parameters = [p for p in model.parameters() if p.requires_grad]
    shares = Shares(parameters, env)
    groups = in_groups(parameters, plan)
    optimizer = make_optimizer(groups, plan, shares.owns)
    average = {k: v.detach().clone() for k, v in shares.own_tensors(model).items()} if plan.ema > 0 else {}
    scaler = torch.amp.GradScaler(env.device.split(":")[0], enabled=env.precision == "fp16")
    identity = identity_of(plan, model)
    losses, scale = resume(model, optimizer, average, groups, checkpoint, identity=identity)
    scaler.load_state_dict(scale) if scale else None
    start, clock = len(losses), CheckpointClock(env.checkpoint_minutes)
    for step in range(start, plan.steps):
        set_rate(optimizer, learning_rate(plan, step))
        torch.manual_seed(derive_seed(plan.seed, plan.name, "global", step, env.rank))
        model.zero_grad(set_to_none=True)
        loss = _gradients(objective, draw(step), plan, env, scaler, step)
        losses.append(_finish_step(loss, parameters, optimizer, plan, env, scaler, step))
        shares.spread()
        if plan.ema > 0:
            _update_average(average, model, plan.ema, step)
        if env.progress is not None and env.is_main:
            env.progress(plan.name, step + 1, plan.steps)
        if watcher is not None and (env.is_main or shares.shared) and watcher.looks_at(step + 1):
            with shares.averaged(model, average):
                if env.is_main:
                    watcher(step + 1)
        asked = requested()
        due = (step + 1) % plan.checkpoint_every == 0 and step + 1 < plan.steps and clock.due()
        warned = env.is_main and env.warned is not None and env.warned()
        if shares.any_of_us(asked is not None or (env.is_main and (due or warned))):
            state = shares.gathered(state_of(optimizer, average, groups))
            if env.is_main:
                save_checkpoint(model, state, losses, checkpoint, scaler.state_dict(), identity=identity)
            clock.restart()
        if asked is not None:
            raise asked
    if plan.ema > 0:
        shares.take(model, average)
    return TrainLog(losses=losses, resumed_from=start)


@contextlib.contextmanager
def autocast(env: TrainEnv) -> Iterator[None]:
    """bf16 or fp16 autocast where the config asks for it, nothing otherwise."""
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(env.precision)
    if kind is None:
        yield
    else:
        with torch.autocast(env.device.split(":")[0], dtype=kind):
            yield


def attention(env: TrainEnv) -> contextlib.AbstractContextManager[None]:
    """Attention as plain products in bf16 on a CPU: the fused kernel takes 7 times as long for 16 tokens, twice for 64.

    From 256 on it is no slower, from 1,024 twice as fast (``experiments/results/train_speed``), which is no work for a CPU.
    """
    return sdpa_kernel(SDPBackend.MATH) if fused_is_slow(env) else contextlib.nullcontext()


def fused_is_slow(env: TrainEnv) -> bool:
    """Whether torch's fused attention is slow in training: in bf16 on a CPU."""
    return env.precision == "bf16" and env.device.startswith("cpu")


def _gradients(
    objective: Objective,
    batch: npt.NDArray[np.int64],
    plan: TrainPlan,
    env: TrainEnv,
    scaler: torch.amp.GradScaler,
    step: int,
) -> Tensor:
    """Add the gradients of this worker's shard of the global batch, in ``accumulate`` pieces; return the loss."""
    total = torch.zeros((), device=env.device)
    for piece in range(plan.accumulate):
        here = env if plan.accumulate == 1 else env.part(piece, plan.accumulate)
        loss_of = objective if plan.accumulate == 1 else replace(objective, env=here)  # type: ignore[type-var]
        rows = here.shard(batch)
        if len(rows) == 0:
            continue
        with attention(env):  # backward too: gradient checkpointing runs the forward pass again there
            with autocast(env):
                loss = loss_of(rows, step, step_generator(plan.seed, plan.name, step))
            share = loss if plan.accumulate == 1 else loss * (1 / plan.accumulate)
            scaler.scale(share).backward()  # type: ignore[no-untyped-call]
        total = total + share.detach()
    return total


def _finish_step(
    loss: Tensor,
    parameters: list[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    plan: TrainPlan,
    env: TrainEnv,
    scaler: torch.amp.GradScaler,
    step: int,
) -> float:
    value = loss.detach().float().clone()
    if env.world > 1:
        average_gradients(parameters, env.world)
        dist.all_reduce(value)
        value /= env.world
    number = float(value)
    if not math.isfinite(number):
        raise StageError(
            f"{plan.name}: the loss became {number} at step {step}; lower its lr or grad_clip. "
            "The last good checkpoint is kept and a rerun resumes from it"
        )
    if plan.grad_clip is not None:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(parameters, plan.grad_clip)
    scaler.step(optimizer)  # without fp16 scaling this is optimizer.step()
    scaler.update()
    return number


def _update_average(average: Mapping[str, Tensor], model: nn.Module, decay: float, step: int) -> None:
    """EMA with warm-up min(decay, (1 + t) / (10 + t)); integer buffers are copied."""
    keep = min(decay, (1 + step) / (10 + step))
    with torch.no_grad():
        state = model.state_dict()
        for name, mean in average.items():
            if mean.is_floating_point():
                mean.lerp_(state[name], 1 - keep)
            else:
                mean.copy_(state[name])
