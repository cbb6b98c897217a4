"""What a stage is given: folders, seed, device, and the ways to map over images and to train.

A stage reads finished folders, fills ``context.out``, and knows no cluster: work on many images goes through
``context.map`` (in this process or over actors), training through ``context.launch`` (in this process or on Ray Train
workers).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from engine.training.plan import Progress, TrainEnv

C = TypeVar("C")
R = TypeVar("R")
C_contra = TypeVar("C_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class ChunkWorker(Protocol[C_contra, R_co]):
    """A picklable recipe (frozen dataclass of paths and settings) for a function over chunks.

    ``load`` runs once per process, opens weights and memmaps, and returns the function.
    """

    def load(self) -> Callable[[C_contra], R_co]:
        """Return the function that turns one chunk into its result (numpy, picklable)."""
        ...


class Map(Protocol):
    """Apply a worker to every chunk; results come in the order of the chunks."""

    def __call__(
        self, worker: ChunkWorker[C, R], chunks: Sequence[C], what: str, before: int = 0
    ) -> Iterator[R]:
        """Yield one result per chunk; ``what`` names the work in progress bars, in which ``before`` chunks are done."""
        ...


Fit: TypeAlias = "Callable[[TrainEnv], None]"
"""A training: picklable (functools.partial of a module-level function over paths and settings)."""


class Launch(Protocol):
    """Run a training function in one process or on several workers; it writes its files when ``env.is_main``."""

    def __call__(self, fit: Fit) -> None:
        """Train to the end."""
        ...


class LaunchAll(Protocol):
    """Run trainings that do not wait for each other, side by side."""

    def __call__(self, fits: Sequence[Fit]) -> None:
        """Train all of them to the end; an error ends the others, unless it is a machine that was lost."""
        ...


@dataclass(frozen=True, kw_only=True)
class StageContext:
    """Everything a stage may use besides its params.

    ``out`` is an empty folder to fill. ``inputs`` maps a role to a finished stage folder. ``checkpoint`` is this
    attempt's folder, and holds the whole files of the attempt before. ``device`` is a torch device string. ``launch_all`` is
    there where several trainings may run at once.
    """

    out: Path
    inputs: Mapping[str, Path]
    seed: int
    threads: int
    device: str
    precision: str
    checkpoint: Path
    progress: Progress
    map: Map
    launch: Launch
    launch_all: LaunchAll | None = None


def launch_fit(context: StageContext, fit: Callable[..., None], **arguments: object) -> None:
    """Launch a module-level ``fit(env, *, seed, checkpoint, out, ...)`` with what every training needs of the context."""
    places = {"seed": context.seed, "checkpoint": context.checkpoint, "out": context.out}
    context.launch(functools.partial(fit, **places, **arguments))


def launch_each(context: StageContext, fits: Sequence[Fit]) -> None:
    """Launch trainings that do not wait for each other: side by side where there is room, else one after the other."""
    if context.launch_all is not None and len(fits) > 1:
        context.launch_all(fits)
        return
    for fit in fits:
        context.launch(fit)


def numbered(inputs: Mapping[str, Path], role: str) -> list[Path]:
    """Return the inputs ``<role>_<round>`` by rising round."""
    rounds = sorted(int(name.rpartition("_")[2]) for name in inputs if name.rpartition("_")[0] == role)
    return [inputs[f"{role}_{number}"] for number in rounds]
