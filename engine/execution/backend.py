"""The backend Protocol and the local backend, which runs every stage in this process and imports no ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from engine.execution.profiling import watched
from engine.parts.context import ChunkWorker, Fit, Launch, LaunchAll, Map, StageContext
from engine.parts.kept_map import KeptMap
from engine.stages import run_stage

if TYPE_CHECKING:
    from engine.training.plan import Progress

C = TypeVar("C")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class StageCall:
    """One attempt at a stage: picklable, with absolute paths that every worker can reach; ``params`` are plain JSON.

    ``out`` and ``checkpoint`` are this attempt's own, and no other's. ``halvings`` says how often the number of
    workers of a map is halved, for want of memory.
    """

    stage: str
    out: Path
    inputs: Mapping[str, Path]
    params: Mapping[str, Any]
    seed: int
    threads: int
    device: str
    precision: str
    checkpoint: Path
    halvings: int = 0

    @property
    def title(self) -> str:
        """The stage as its folder in the cache is called, its name alone outside of the cache."""
        folder, _, attempt = self.out.parent.name.partition(".attempt-")
        return folder if attempt else self.stage

    def context(
        self, *, progress: Progress, mapper: Map, launch: Launch, launch_all: LaunchAll | None = None
    ) -> StageContext:
        """Return the context the stage sees, with the backend's ways to map and train."""
        return StageContext(
            out=self.out,
            inputs=self.inputs,
            seed=self.seed,
            threads=self.threads,
            device=self.device,
            precision=self.precision,
            checkpoint=self.checkpoint,
            progress=progress,
            map=KeptMap(mapper, self.checkpoint),
            launch=launch,
            launch_all=launch_all,
        )


class Backend(Protocol):
    """Runs stages somewhere; the results do not depend on where."""

    def run(self, call: StageCall, progress: Progress) -> None:
        """Run one stage to its end; raises what the stage raised, or AttemptError where its worker or node was lost."""
        ...

    def slot(self) -> AbstractContextManager[None]:
        """Hold one of the places of stages that run side by side; wait until one is free."""
        ...

    def stop(self) -> None:
        """End stages that still run, where several can at once; ``run`` raises then."""
        ...

    def close(self) -> None:
        """Give back what the backend holds."""
        ...


@dataclass(frozen=True)
class LocalMap:
    """Maps in this process, one chunk after the other."""

    progress: Progress

    def __call__(
        self, worker: ChunkWorker[C, R], chunks: Sequence[C], what: str, before: int = 0
    ) -> Iterator[R]:
        """Yield the results in order."""
        function = worker.load()
        for done, chunk in enumerate(chunks, start=before + 1):
            yield function(chunk)
            self.progress(what, done, before + len(chunks))


@dataclass(frozen=True)
class LocalLaunch:
    """Trains in this process; ``warned`` as ``TrainEnv`` has it."""

    threads: int
    device: str
    precision: str
    progress: Progress
    checkpoint_minutes: float = 0.0
    warned: Callable[[], bool] | None = None

    def __call__(self, fit: Fit) -> None:
        """Call ``fit`` with an environment of one worker."""
        from engine.training.plan import TrainEnv

        env = TrainEnv(
            device=self.device,
            threads=self.threads,
            precision=self.precision,
            progress=self.progress,
            checkpoint_minutes=self.checkpoint_minutes,
            warned=self.warned,
        )
        env.begin()
        fit(env)


def run_here(
    call: StageCall, progress: Progress, checkpoint_minutes: float = 0.0, profile: Path | None = None
) -> None:
    """Run a stage in this process, mapping and training here too; ``profile``: where it is told what takes its time."""
    with watched(profile, call.title, call.device, progress) as told:
        run_stage(
            call.stage,
            call.context(
                progress=told,
                mapper=LocalMap(told),
                launch=LocalLaunch(call.threads, call.device, call.precision, told, checkpoint_minutes),
            ),
            call.params,
        )


@dataclass(frozen=True)
class LocalBackend:
    """Runs every stage in this process."""

    checkpoint_minutes: float = 0.0
    profile: Path | None = None

    def run(self, call: StageCall, progress: Progress) -> None:
        """Run the stage here."""
        run_here(call, progress, self.checkpoint_minutes, self.profile)

    def slot(self) -> AbstractContextManager[None]:
        """Wait for nothing: one stage runs, in the caller's thread."""
        return nullcontext()

    def stop(self) -> None:
        """Do nothing: whoever calls this is not running a stage."""

    def close(self) -> None:
        """Hold nothing, give back nothing."""
