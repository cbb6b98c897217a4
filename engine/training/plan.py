"""What a training is told: the process it runs in, its plan, and the rows, noise and learning rate of each step.

All of it depends on (seed, name, step) alone, so that a resumed or distributed training draws the same.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engine.config import OptimConfig
from engine.training.threads import use_threads

if TYPE_CHECKING:
    import torch

Progress = Callable[[str, int, int], None]
"""Called as progress(what, done, total); cheap, may be called every step."""


@dataclass(frozen=True, kw_only=True)
class TrainEnv:
    """The process a training runs in: its place among the workers, device, threads and where progress goes.

    ``checkpoint_minutes`` is the least time between two of its checkpoints. ``warned`` is asked after each step whether a
    machine of the training is about to go; a true answer brings a checkpoint. ``shares_state`` says whether workers share
    moments and average out (``engine.training.sharding``).
    """

    rank: int = 0
    world: int = 1
    device: str = "cpu"
    threads: int = 1
    precision: str = "float32"
    progress: Progress | None = None
    checkpoint_minutes: float = 0.0
    warned: Callable[[], bool] | None = None
    shares_state: bool = False

    def begin(self) -> None:
        """Set the thread count; reused workers keep the last task's otherwise (results depend on it)."""
        use_threads(self.threads)

    def part(self, piece: int, pieces: int) -> TrainEnv:
        """Return the environment of one of several pieces of this worker's shard (gradient accumulation)."""
        return replace(self, rank=self.rank * pieces + piece, world=self.world * pieces)

    def shard(self, batch: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return this worker's slice of a global batch."""
        return np.array_split(batch, self.world)[self.rank]

    def share_of_mean(self, size: int, batch: int) -> float:
        """Return the factor of a shard's mean loss over ``size`` examples, by which the workers' mean is the batch's.

        It is 1 where all shards are equally large; a batch of 8 falls to three workers as 3, 3 and 2.
        """
        return size * self.world / batch

    @property
    def is_main(self) -> bool:
        """Whether this worker writes files."""
        return self.rank == 0


@dataclass(frozen=True, kw_only=True)
class TrainPlan:
    """What the loop needs to know; one optimizer step consumes ``batch_size`` examples over all workers."""

    name: str
    seed: int
    steps: int
    batch_size: int
    lr: float
    weight_decay: float = 0.0
    lr_schedule: str = "one_cycle"
    grad_clip: float | None = 1.0
    checkpoint_every: int = 200
    ema: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    optimizer: str = "adamw"
    accumulate: int = 1

    @classmethod
    def of(cls, config: OptimConfig, *, name: str, seed: int, **changes: Any) -> TrainPlan:
        """Return the plan a config section asks for; ``changes`` replace or add fields (steps, lr, ema)."""
        asked = {field: getattr(config, field) for field in OptimConfig.model_fields}
        return cls(**{"name": name, "seed": seed, **asked, **changes})


@dataclass
class CheckpointClock:
    """Says when enough time has passed since the last checkpoint; a big model's take longer to write than steps to run."""

    minutes: float
    since: float = field(default_factory=time.monotonic)

    def due(self) -> bool:
        """Whether ``minutes`` have passed since the start or the last checkpoint."""
        return time.monotonic() - self.since >= 60.0 * self.minutes

    def restart(self) -> None:
        """Count from now."""
        self.since = time.monotonic()


FloatWeights = npt.NDArray[np.float64]
"""Sampling weights of N examples, >= 0."""


def derive_seed(*parts: object) -> int:
    """Return a 63-bit seed that depends on every part (their text), the same on every machine."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def step_generator(plan_seed: int, name: str, step: int) -> torch.Generator:
    """Return the CPU generator of one step; draw noise on CPU and move it, so that devices agree."""
    import torch

    return torch.Generator().manual_seed(derive_seed(plan_seed, name, "step", step))


def draw_rows(weights_N: FloatWeights, plan: TrainPlan, step: int) -> npt.NDArray[np.int64]:
    """Draw the global batch of ``step``: uniform weights walk through epochs, others draw with replacement.

    Args:
        weights_N: sampling weight of each example, >= 0; all equal means every example once an epoch.
        plan: gives seed, name and batch size.
        step: 0-based.
    """
    count = len(weights_N)
    if np.all(weights_N == weights_N[0]):
        positions = np.arange(step * plan.batch_size, (step + 1) * plan.batch_size)
        epochs = {int(e): _epoch_order(count, plan, int(e)) for e in np.unique(positions // count)}
        return np.array([epochs[int(p // count)][int(p % count)] for p in positions], dtype=np.int64)
    rng = np.random.default_rng(derive_seed(plan.seed, plan.name, "rows", step))
    return rng.choice(count, size=plan.batch_size, p=weights_N / weights_N.sum()).astype(np.int64)


def balanced_weights(labels_N: npt.NDArray[np.int64], balance: float) -> npt.NDArray[np.float64]:
    """Sampling weights n_c^(-balance): 0 draws images as frequent as they are, 1 draws classes equally often.

    Images without a class (label -1) count as one class more.
    """
    counts = np.bincount(labels_N + 1)
    return np.asarray(counts[labels_N + 1].astype(np.float64) ** -balance)


def learning_rate(plan: TrainPlan, step: int) -> float:
    """Return the rate of a 0-based step: one cycle (30 % linear-cosine rise from lr/25, fall to lr/1e4), or others."""
    progress = (step + 0.5) / plan.steps
    if plan.lr_schedule == "constant":
        return plan.lr
    if plan.lr_schedule == "cosine":
        return plan.lr * 0.5 * (1 + math.cos(math.pi * progress))
    rise = 0.3
    if progress < rise:
        low, share = plan.lr / 25, progress / rise
        return low + (plan.lr - low) * 0.5 * (1 - math.cos(math.pi * share))
    low, share = plan.lr / 1e4, (progress - rise) / (1 - rise)
    return low + (plan.lr - low) * 0.5 * (1 + math.cos(math.pi * share))


def _epoch_order(count: int, plan: TrainPlan, epoch: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(derive_seed(plan.seed, plan.name, "epoch", epoch)).permutation(count)
