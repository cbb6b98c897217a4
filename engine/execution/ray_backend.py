"""The Ray backend: stages as tasks in reused workers, training on Ray Train, maps over actor pools of Ray Data.

Every worker must see the stage cache under the same path (one machine, or a shared disk).
"""

from __future__ import annotations

import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import ray
import ray.data
import ray.train
import ray.train.torch
from ray.exceptions import RayError, RayTaskError

from engine.config import BackendConfig
from engine.errors import HardcaseError, StageError
from engine.execution import stop_signals
from engine.execution.backend import LocalLaunch, LocalMap, StageCall
from engine.execution.progress_file import ProgressFile
from engine.execution.ray_address import check_gpus, connect, first_line
from engine.stages.base import ChunkWorker, run_stage
from engine.training.plan import Progress, TrainEnv
from engine.training.set_aside import LOG, said_in

C = TypeVar("C")
R = TypeVar("R")

POLL_SECONDS = 0.5


class RayBackend:
    """Runs each stage as a Ray task; starts Ray here or joins the cluster at ``backend.address``."""

    def __init__(self, config: BackendConfig) -> None:
        """Connect; raises ConfigError within seconds when the address does not answer."""
        self.config = config
        self.owns_ray = not ray.is_initialized()
        if self.owns_ray:
            connect(config.address)
            stop_signals.install()  # Ray puts a handler of its own in place, which ends without a word
        total = ray.cluster_resources()
        self.gpus = config.gpus_per_worker
        check_gpus(self.gpus, total.get("GPU", 0))
        self.cpus = int(total.get("CPU", 1))

    def run(self, call: StageCall, progress: Progress) -> None:
        """Run one stage as a task and pass its progress on; raises what the stage raised."""
        note = call.out.with_name(call.out.name + ".progress.json")
        pools = _Pools(
            config=self.config,
            call=call,
            cpus_per_task=max(1, min(call.threads, self.cpus)),
            note=ProgressFile(note),
        )
        delegates = pools.delegates
        options: dict[str, Any] = {
            "num_cpus": 0 if delegates else pools.cpus_per_task,
            "num_gpus": 0 if delegates else self.gpus,
            "max_retries": 2,
            "name": f"stage:{call.stage}",
        }
        reference = ray.remote(_stage_task).options(**options).remote(call, pools)
        try:
            while not ray.wait([reference], timeout=POLL_SECONDS)[0]:
                latest = ProgressFile(note).read()
                if latest is not None:
                    progress(*latest)
            ray.get(reference)
        except RayTaskError as error:
            raise _cause(error) from error
        except RayError as error:
            raise StageError(
                f"stage {call.stage}: Ray lost its worker ({first_line(error)}); rerun to resume"
            ) from error
        finally:
            note.unlink(missing_ok=True)
            for line in said_in(call.checkpoint):  # the worker's log does not reach this process
                LOG.warning("%s", line)

    def close(self) -> None:
        """Disconnect, where this backend connected."""
        if self.owns_ray and ray.is_initialized():
            ray.shutdown()


@dataclass(frozen=True, kw_only=True)
class _Pools:
    """How a stage's task trains and maps: in itself, or on workers of its own."""

    config: BackendConfig
    call: StageCall
    cpus_per_task: int
    note: ProgressFile

    @property
    def delegates(self) -> bool:
        """Whether the task leaves the work to train workers or map actors (then it holds no CPU itself)."""
        from engine.stages.base import STAGES

        spec = STAGES[self.call.stage]
        return (spec.trains and self.config.train_workers > 0) or (spec.maps and self.config.map_workers > 0)

    def map(self, worker: ChunkWorker[C, R], chunks: Sequence[C], what: str) -> Iterator[R]:
        """Map in this task, or over an actor pool: one Ray Data row a chunk, results in the order of the chunks."""
        if self.config.map_workers == 0 or not chunks:
            yield from LocalMap(self.note)(worker, chunks, what)
            return
        rows = [{"position": i, "chunk": pickle.dumps(chunk)} for i, chunk in enumerate(chunks)]
        size = min(self.config.map_workers, len(chunks))
        results = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            _ChunkActor,
            fn_constructor_args=(worker, self.call.threads),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=size),
            num_cpus=self._cpus_beside(size),
            num_gpus=self.config.gpus_per_worker or None,
        )
        yield from self._in_order(results, len(rows), what)

    def _in_order(self, results: Any, total: int, what: str) -> Iterator[Any]:
        waiting: dict[int, Any] = {}
        expected = 0
        for done, row in enumerate(results.iter_rows(), start=1):
            waiting[int(row["position"])] = pickle.loads(row["result"])  # noqa: S301  (our own process tree)
            self.note(what, done, total)
            while expected in waiting:
                yield waiting.pop(expected)
                expected += 1

    def _cpus_beside(self, workers: int) -> float:
        """CPUs an actor: leave one free for Ray Data itself, or it starves."""
        free = max(1, int(ray.cluster_resources().get("CPU", 1)) - 1)
        return min(float(self.cpus_per_task), free / workers)

    def launch(self, fit: Callable[[TrainEnv], None]) -> None:
        """Train in this task, or on ``train_workers`` Ray Train workers."""
        call = self.call
        if self.config.train_workers == 0:
            LocalLaunch(call.threads, call.device, call.precision, self.note)(fit)
            return
        with tempfile.TemporaryDirectory(dir=call.out.parent, prefix=".ray-train-") as storage:
            trainer = ray.train.torch.TorchTrainer(
                _train_worker,
                train_loop_config={"fit": fit, "call": call, "note": self.note},
                scaling_config=ray.train.ScalingConfig(
                    num_workers=self.config.train_workers,
                    use_gpu=self.config.gpus_per_worker > 0,
                    resources_per_worker=self._train_resources(),
                ),
                run_config=ray.train.RunConfig(storage_path=storage, name=call.stage),
            )
            try:
                trainer.fit()
            except Exception as error:
                raise _cause(error) from error

    def _train_resources(self) -> dict[str, float]:
        total = int(ray.cluster_resources().get("CPU", 1))
        share = max(0.5, min(float(self.cpus_per_task), (total - 0.5) / self.config.train_workers))
        gpus = {"GPU": self.config.gpus_per_worker} if self.config.gpus_per_worker > 0 else {}
        return {"CPU": share, **gpus}


def _stage_task(call: StageCall, pools: _Pools) -> None:
    """Run one stage; Ray may retry it after a lost worker, so what that one left in ``out`` goes first."""
    shutil.rmtree(call.out, ignore_errors=True)
    call.out.mkdir(parents=True)
    run_stage(call.stage, call.context(progress=pools.note, mapper=pools.map, launch=pools.launch))


class _ChunkActor:
    """One actor of a map: loads the worker once, applies it to a chunk a call."""

    def __init__(self, worker: ChunkWorker[Any, Any], threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.function = worker.load()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        result = self.function(pickle.loads(batch["chunk"][0]))  # noqa: S301  (our own process tree)
        return {"position": batch["position"], "result": [pickle.dumps(result)]}


def _train_worker(config: dict[str, Any]) -> None:
    """Run the training function on one Ray Train worker."""
    call: StageCall = config["call"]
    context = ray.train.get_context()
    device = str(ray.train.torch.get_device()) if call.device != "cpu" else "cpu"
    env = TrainEnv(
        rank=context.get_world_rank(),
        world=context.get_world_size(),
        device=device,
        threads=call.threads,
        precision=call.precision,
        progress=config["note"],
    )
    env.begin()
    config["fit"](env)


def _cause(error: BaseException) -> BaseException:
    """Return the hardcase error inside Ray's wrapping where there is one, else a StageError with its last line."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, HardcaseError) and not isinstance(seen, RayTaskError):
            return seen
        inner = getattr(seen, "cause", None) or getattr(seen, "worker_failures", None)
        if isinstance(inner, dict):
            inner = next((e for e in inner.values() if isinstance(e, BaseException)), None)
        if isinstance(inner, BaseException) and inner is not seen:
            seen = inner
            continue
        seen = seen.__cause__
    return error
