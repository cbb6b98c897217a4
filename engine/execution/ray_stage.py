"""A stage inside its Ray task: how it trains (on Ray Train, in tasks) and maps (in a task, over actors), and who holds what.

CPUs and GPUs belong to whoever computes. A stage that leaves no work to workers computes in its own task, which holds them.
One that leaves some of it to workers holds nothing, or it would wait for the GPU it holds itself; its other work then runs
in tasks that ask for their own.

Every worker must see the stage cache under the same path (one machine, or a shared disk).
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import ray

from engine.artifacts.machine_faults import mendable
from engine.config import BackendConfig
from engine.errors import StageError
from engine.execution.attempts import AttemptError
from engine.execution.backend import LocalLaunch, LocalMap, StageCall
from engine.execution.profiling import watched_chunk
from engine.execution.progress_file import part_of
from engine.execution.ray_causes import found_in
from engine.execution.ray_drains import notice_for, this_node
from engine.execution.ray_training import train_on_workers, watching
from engine.execution.stop_file import StopFile
from engine.parts.context import ChunkWorker, Fit
from engine.stages import find, run_stage
from engine.training.plan import Progress
from engine.training.threads import use_threads

C = TypeVar("C")
R = TypeVar("R")
APART_FROM = 4
"""A cluster with room for so many stages has some left for the folds of one: beside judge, generator and first training."""
CHUNKS_AHEAD = 8
"""How many results a task that maps may be ahead of who takes them."""
WATCHED_CHUNKS = 2
"""Chunks of an actor that are watched for a profile. The later one is kept: the first makes what is made once."""


@dataclass(frozen=True, kw_only=True)
class StageWork:
    """How a stage's task trains and maps: in itself, or in tasks and on workers of their own.

    ``home`` is the node of the stage's task: when that goes, what it has begun elsewhere goes too. ``places`` says how many
    stages the cluster has room for at once.
    """

    config: BackendConfig
    call: StageCall
    cpus_per_task: int
    note: Progress
    profile: Path | None = None
    home: str = ""
    places: int = 1

    @property
    def delegates(self) -> bool:
        """Whether workers, actors or tasks do some of the stage's work; then its own task does none of it."""
        spec = find(self.call.stage)
        trains, maps = self.config.most_train_workers > 0, self.config.map_workers > 0
        return (spec.trains and trains) or (spec.maps and maps) or self.fits_apart

    @property
    def fits_apart(self) -> bool:
        """Whether each of the stage's trainings runs in a task of its own, beside the others."""
        wide = self.places >= APART_FROM and self.config.most_train_workers == 0 and self.call.halvings == 0
        return wide and find(self.call.stage).fits_apart

    @property
    def stage_resources(self) -> dict[str, Any]:
        """What Ray is asked for the stage's own task."""
        if self.delegates:
            return {"num_cpus": 0, "num_gpus": 0, "max_retries": 0}
        return self._resources

    @property
    def _resources(self) -> dict[str, Any]:
        """What Ray is asked for a task that computes."""
        return {
            "num_cpus": self.cpus_per_task,
            "num_gpus": self.config.gpus_per_worker,
            "max_retries": 0,
        }

    def map(self, worker: ChunkWorker[C, R], chunks: Sequence[C], what: str, before: int = 0) -> Iterator[R]:
        """Map in this task, in one of its own, or over an actor pool; results come in the order of the chunks.

        Of an actor pool a chunk is one row of Ray Data.
        """
        if not self.delegates or not chunks:
            yield from LocalMap(self.note)(worker, chunks, what, before)
            return
        if self.config.map_workers == 0:
            yield from self._map_in_a_task(worker, chunks, what, before)
            return
        import ray.data  # a second of imports, for stages that map on actors alone

        rows = [{"position": i, "chunk": pickle.dumps(chunk)} for i, chunk in enumerate(chunks)]
        size = self.actors(len(chunks))
        results = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _ChunkActor,
            fn_constructor_args=(worker, self),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=size),
            num_cpus=self._cpus_beside(size),
            num_gpus=self.config.gpus_per_worker or None,
            max_restarts=0,
            max_task_retries=0,
        )
        yield from self._in_order(results, len(rows), what, before)

    def _map_in_a_task(
        self, worker: ChunkWorker[C, R], chunks: Sequence[C], what: str, before: int
    ) -> Iterator[R]:
        """Map in one task that holds what this one does not; results come as they are made."""
        ahead = {"num_returns": "streaming", "_generator_backpressure_num_objects": CHUNKS_AHEAD}
        task = ray.remote(_map_task).options(**self._resources, **ahead, name=f"map:{self.call.stage}")
        results = task.remote(self, worker, list(chunks), what, before)
        try:
            for reference in results:
                yield ray.get(reference)
        finally:  # of one that ended nothing is left to cancel
            ray.cancel(results, force=True)

    def actors(self, chunks: int) -> int:
        """Return on how many actors so many chunks are mapped: half as many after an attempt that ran out of memory."""
        return min(max(1, self.config.map_workers >> self.call.halvings), chunks)

    def _in_order(self, results: Any, total: int, what: str, before: int) -> Iterator[Any]:
        waiting: dict[int, Any] = {}
        expected = 0
        for done, row in enumerate(results.iter_rows(), start=1):
            waiting[int(row["position"])] = pickle.loads(row["result"])  # noqa: S301  (our own process tree)
            self.note(what, before + done, before + total)
            while expected in waiting:
                yield waiting.pop(expected)
                expected += 1

    def _cpus_beside(self, workers: int) -> float:
        """CPUs per actor: leave one free for Ray Data itself, or it starves."""
        free = max(1, int(ray.cluster_resources().get("CPU", 1)) - 1)
        return min(float(self.cpus_per_task), free / workers)

    def launch(self, fit: Fit) -> None:
        """Train on ``train_workers`` Ray Train workers; with none, in this task, or in another where this holds nothing."""
        if self.config.most_train_workers > 0:
            train_on_workers(self, fit)
        elif self.delegates:
            ray.get(self._begin_training(fit))
        else:
            self.train_here(fit)

    def launch_all(self, fits: Sequence[Fit]) -> None:
        """Train each in a task of its own, as many at once as Ray has room for.

        Where one loses its machine the others are waited for, so that the next attempt does none of them again; any other
        error ends them.
        """
        waiting = [
            replace(self, note=part_of(self.note, number))._begin_training(fit)
            for number, fit in enumerate(fits)
        ]
        lost: AttemptError | None = None
        try:
            while waiting:
                (done,), waiting = ray.wait(waiting)
                try:
                    ray.get(done)
                except ray.exceptions.RayError as error:
                    found = found_in(error)
                    if not isinstance(found, AttemptError):
                        raise
                    lost = found
        finally:
            for reference in waiting:
                ray.cancel(reference, force=True)
        if lost is not None:
            raise lost

    def train_here(self, fit: Fit) -> None:
        """Train in this process."""
        call = self.call
        minutes, warned = self.config.checkpoint_minutes, self.warned([self.home])
        LocalLaunch(call.threads, call.device, call.precision, self.note, minutes, warned)(fit)

    def warned(self, nodes: Sequence[str]) -> Callable[[], bool]:
        """Return what tells a training whether a checkpoint is due: the driver is about to end it, or a node to leave."""
        leaving, stop = notice_for(nodes), StopFile.of(self.call.out)
        return lambda: stop.asked() or leaving()

    def _begin_training(self, fit: Fit) -> Any:
        """Begin a training in a task of its own; return the reference to its end."""
        task = ray.remote(_train_task).options(**self._resources, name=f"train:{self.call.stage}")
        return task.remote(self, fit)


def stage_task(call: StageCall, work: StageWork) -> None:
    """Make one attempt at a stage; one that begins after the driver gave it up finds its folder gone.

    Raises:
        AttemptError: a worker of it was lost.
        HardcaseError: what the stage raised, or what the machine does not have.
    """
    if not call.out.is_dir():
        raise StageError(f"stage {call.stage}: {call.out} is gone, this attempt was given up")
    work = replace(work, home=this_node())
    try:
        with nullcontext(work) if work.delegates else watching(work) as here:
            context = call.context(
                progress=here.note,
                mapper=here.map,
                launch=here.launch,
                launch_all=here.launch_all if here.fits_apart else None,
            )
            run_stage(call.stage, context, call.params)
    except Exception as error:
        found: BaseException | None = found_in(error)
        if found is error:
            found = mendable(error, f"stage {call.stage}", find(call.stage).saving, call.out)
        if found is None or found is error:
            raise
        raise found from None  # the cause may not be picklable


def _train_task(work: StageWork, fit: Fit) -> None:
    """Train in this task, which holds what the stage's does not."""
    with watching(work) as here:
        here.train_here(fit)


def _map_task(
    work: StageWork, worker: ChunkWorker[C, R], chunks: Sequence[C], what: str, before: int
) -> Iterator[R]:
    """Map in this task, which holds what the stage's does not."""
    use_threads(work.call.threads)
    with watching(work) as here:
        yield from LocalMap(here.note)(worker, chunks, what, before)


class _ChunkActor:
    """One actor of a map: loads the worker once, applies it to one chunk per call."""

    def __init__(self, worker: ChunkWorker[Any, Any], work: StageWork) -> None:
        self.work, self.chunks = work, 0
        use_threads(work.call.threads)
        self.function = worker.load()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        call, self.chunks = self.work.call, self.chunks + 1
        profile = self.work.profile if self.chunks <= WATCHED_CHUNKS else None
        with watched_chunk(profile, call.title, call.device):
            result = self.function(pickle.loads(batch["chunk"][0]))  # noqa: S301  (our own process tree)
        return {"position": batch["position"], "result": [pickle.dumps(result)]}
