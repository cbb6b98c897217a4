"""The Ray backend, as the driver sees it: starts Ray when the first stage runs, and runs each stage as a task."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from signal import SIGTERM
from typing import TYPE_CHECKING

from engine.config import BackendConfig
from engine.errors import StoppedError
from engine.execution import stop_signals
from engine.execution.backend import StageCall
from engine.execution.progress_file import ProgressFile
from engine.execution.ray_address import check_gpus, connect
from engine.execution.stop_file import StopFile
from engine.stages import find
from engine.training.plan import Progress
from engine.training.set_aside import LOG, said_in

if TYPE_CHECKING:
    from ray import ObjectRef

    from engine.execution.ray_stage import StageWork

POLL_SECONDS = 0.5
CANCEL_SECONDS = 10.0
"""How long a stage that is cancelled may take to end: Ray is left while none is on its way, or it hangs for a minute."""
CHECKPOINT_SECONDS = 10.0
"""How long a training may take to its next checkpoint when it is about to be ended."""
MOST_AT_ONCE = 64
"""How many stages run side by side at most, however large the cluster is."""


class RayBackend:
    """Runs each stage as a Ray task; starts Ray here or joins the cluster at ``backend.address``.

    Ray is imported and started when the first stage runs, so a rerun that finds every stage in the cache pays nothing.
    """

    def __init__(self, config: BackendConfig, profile: Path | None = None) -> None:
        """Connect where ``backend.address`` is given; ``profile``: folder in which workers tell what takes their time.

        Raises:
            ConfigError: nothing answers there (within seconds), or it has fewer GPUs than a worker asks for.
        """
        self.config = config
        self.profile = profile
        self.cpus: int | None = None
        self.owns_ray = False
        self.places = 1
        self.slots = threading.Semaphore(0)
        self._connecting = threading.Lock()
        self._stopping = threading.Event()
        if config.address is not None:
            self._connect()

    def run(self, call: StageCall, progress: Progress) -> None:
        """Run one attempt at a stage as a task and pass its progress on; raises what the stage raised.

        Ray retries nothing by itself: who counts attempts is the caller.

        Raises:
            AttemptError: the worker or the node was lost, or ended for its memory.
            ConfigError: Ray starts here now and has fewer GPUs than a worker asks for.
        """
        cpus = self._connect()
        import ray
        from ray.exceptions import RayError

        from engine.execution import ray_causes, ray_stage

        note = ProgressFile(call.out.with_name(call.out.name + ".progress.json"))
        work = ray_stage.StageWork(
            config=self.config,
            call=call,
            cpus_per_task=max(1, min(call.threads, cpus)),
            note=note,
            profile=self.profile,
            places=self.places,
        )
        reference = self.submit(call, work)
        try:
            with stop_signals.unwrapped():
                while not ray.wait([reference], timeout=POLL_SECONDS)[0]:
                    if self._stopping.is_set():
                        raise StoppedError(SIGTERM)
                    latest = note.latest()
                    if latest is not None:
                        progress(*latest)
                ray.get(reference)
        except RayError as error:
            raise ray_causes.found_in(error) from error
        except (StoppedError, KeyboardInterrupt):
            self._end(reference, call)
            raise
        finally:
            note.remove()
            for line in said_in(call.checkpoint):  # the worker's log does not reach this process
                LOG.warning("%s", line)

    def _end(self, reference: ObjectRef[None], call: StageCall) -> None:
        """End a stage: its training writes a checkpoint first, and Ray is not left while it is on its way."""
        import ray

        if find(call.stage).trains:
            over = partial(_is_over, reference)
            StopFile.of(call.out).ask(CHECKPOINT_SECONDS, over)
        ray.cancel(reference, force=True)
        ray.wait([reference], timeout=CANCEL_SECONDS)

    def submit(self, call: StageCall, work: StageWork) -> ObjectRef[None]:
        """Begin the stage as a task of Ray; return the reference to its end."""
        import ray

        from engine.execution.ray_stage import stage_task

        options = {**work.stage_resources, "name": f"stage:{call.stage}"}
        begun: ObjectRef[None] = ray.remote(stage_task).options(**options).remote(call, work)
        return begun

    def stop(self) -> None:
        """End the stages that still run in other threads; their checkpoints stay."""
        self._stopping.set()

    def close(self) -> None:
        """Disconnect, where this backend connected."""
        if not self.owns_ray:
            return
        import ray

        if ray.is_initialized():
            ray.shutdown()

    def _connect(self) -> int:
        """Start or join Ray unless that was done; return the cluster's CPUs."""
        with self._connecting:
            if self.cpus is None:
                import ray

                self.owns_ray = not ray.is_initialized()
                if self.owns_ray:
                    connect(self.config.address)
                total = ray.cluster_resources()
                check_gpus(self.config.gpus_per_worker, total.get("GPU", 0))
                self.cpus = int(total.get("CPU", 1))
                self.places = at_once(self.config, self.cpus, total.get("GPU", 0))
                self.slots.release(self.places)
            return self.cpus

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Wait until a stage more may run beside the others; StoppedError where none may any more."""
        self._connect()
        while not self.slots.acquire(timeout=POLL_SECONDS):
            if self._stopping.is_set():
                raise StoppedError(SIGTERM)
        try:
            yield
        finally:
            self.slots.release()


def at_once(config: BackendConfig, cpus: float, gpus: float) -> int:
    """Return how many stages may run side by side, each with all the workers it may ask for.

    Two stages of which each holds half of what it needs would wait for each other for ever.
    """
    if config.stages_at_once is not None:
        return config.stages_at_once
    workers = max(1, config.most_train_workers, config.map_workers)
    fit = cpus // (config.threads * workers)
    if config.gpus_per_worker > 0:
        fit = min(fit, gpus // (config.gpus_per_worker * workers))
    return int(min(MOST_AT_ONCE, max(1, fit)))


def _is_over(reference: ObjectRef[None]) -> bool:
    import ray

    return bool(ray.wait([reference], timeout=0)[0])
