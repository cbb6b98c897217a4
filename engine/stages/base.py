"""What a stage is given, and the list of all stages with the version of their code.

A stage is a module in this package with ``run(context: StageContext) -> None``. It reads finished folders, fills
``context.out``, and knows no cluster: work on many images goes through ``context.map`` (in this process or over
actors), training through ``context.launch`` (in this process or on Ray Train workers).
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from engine.training.plan import Progress, TrainEnv

C = TypeVar("C")
R = TypeVar("R")
C_contra = TypeVar("C_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class ChunkWorker(Protocol[C_contra, R_co]):
    """A picklable recipe (frozen dataclass of paths and settings) for a function over chunks.

    ``load`` runs once in each process, opens weights and memmaps, and returns the function.
    """

    def load(self) -> Callable[[C_contra], R_co]:
        """Return the function that turns one chunk into its result (numpy, picklable)."""
        ...


class Map(Protocol):
    """Apply a worker to every chunk; results come in the order of the chunks."""

    def __call__(self, worker: ChunkWorker[C, R], chunks: Sequence[C], what: str) -> Iterator[R]:
        """Yield one result a chunk; ``what`` names the work in progress bars."""
        ...


class Launch(Protocol):
    """Run a training function in one process or on several workers; it writes its files when ``env.is_main``."""

    def __call__(self, fit: Callable[[TrainEnv], None]) -> None:
        """``fit`` must be picklable (functools.partial of a module-level function over paths and settings)."""
        ...


@dataclass(frozen=True, kw_only=True)
class StageContext:
    """Everything a stage may use.

    ``out`` is an empty folder to fill; ``inputs`` maps a role to a finished stage folder; ``params`` is the plain
    JSON of the config the stage reads (sections under their names); ``checkpoint`` survives a kill and is the same
    for every attempt; ``device`` is a torch device string.
    """

    out: Path
    inputs: Mapping[str, Path]
    params: Mapping[str, Any]
    seed: int
    threads: int
    device: str
    precision: str
    checkpoint: Path
    progress: Progress
    map: Map
    launch: Launch


def launch_fit(context: StageContext, fit: Callable[..., None], **arguments: object) -> None:
    """Launch a module-level ``fit(env, *, seed, checkpoint, out, ...)`` with what every training needs of the context."""
    places = {"seed": context.seed, "checkpoint": context.checkpoint, "out": context.out}
    context.launch(functools.partial(fit, **places, **arguments))


@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """A stage's module and the version of its code: raise the version when its output changes."""

    module: str
    version: int = 1
    trains: bool = False
    maps: bool = False


STAGES: Mapping[str, StageSpec] = {
    "images": StageSpec(module="engine.stages.images", version=3),
    "split": StageSpec(module="engine.stages.split", version=2),
    "embedder": StageSpec(module="engine.stages.embedder", trains=True),
    "index": StageSpec(module="engine.stages.index", maps=True),
    "vae": StageSpec(module="engine.stages.vae", version=3, trains=True),
    "latents": StageSpec(module="engine.stages.latents", maps=True),
    "denoiser": StageSpec(module="engine.stages.denoiser", version=2, trains=True),
    "likelihood": StageSpec(module="engine.stages.likelihood", maps=True),
    "gan": StageSpec(module="engine.stages.gan", trains=True),
    "judge": StageSpec(module="engine.stages.judge", trains=True, maps=True),
    "features": StageSpec(module="engine.stages.features", maps=True),
    "challenging": StageSpec(module="engine.stages.challenging", maps=True),
    "pool": StageSpec(module="engine.stages.pool", version=2),
    "classifier": StageSpec(module="engine.stages.classifier", trains=True),
    "predict": StageSpec(module="engine.stages.predict", version=2, maps=True),
    "crossfit": StageSpec(module="engine.stages.crossfit", version=2, trains=True, maps=True),
    "mine": StageSpec(module="engine.stages.mine", maps=True),
    "condition": StageSpec(module="engine.stages.condition", maps=True),
    "synthesize": StageSpec(module="engine.stages.synthesize", version=2, maps=True),
    "preview": StageSpec(module="engine.stages.preview"),
    "accept": StageSpec(module="engine.stages.accept", version=3, maps=True),
    "fidelity": StageSpec(module="engine.stages.fidelity", maps=True),
    "evaluate": StageSpec(module="engine.stages.evaluate", version=3),
    "thumbnails": StageSpec(module="engine.stages.thumbnails", version=2),
}


def run_stage(name: str, context: StageContext) -> None:
    """Import the stage's module and run it; torch's thread count is set first (results depend on it)."""
    module = importlib.import_module(STAGES[name].module)
    import torch

    torch.set_num_threads(context.threads)
    module.run(context)
