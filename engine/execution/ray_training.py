"""A training on the workers of Ray Train, a fixed number of them or as many of a range as the cluster has room for."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final

import ray

from engine.errors import ConfigError
from engine.execution.profiling import watched
from engine.execution.ray_drains import nodes_of_all_workers
from engine.parts.context import Fit
from engine.training.plan import TrainEnv

if TYPE_CHECKING:
    from engine.execution.ray_stage import StageWork

RESIZE_SECONDS: Final = 300.0
"""How often Ray Train looks whether a training of a range has room for more workers.

A training that grows begins again at its last checkpoint.
"""


def train_on_workers(work: StageWork, fit: Fit) -> None:
    """Call ``fit`` on every worker of Ray Train; ``work`` says how many, and what each asks for."""
    import ray.train.torch  # a second of imports, for stages that train on workers alone

    call = work.call
    with tempfile.TemporaryDirectory(dir=call.out.parent, prefix=".ray-train-") as storage:
        trainer = ray.train.torch.TorchTrainer(
            _train_worker,
            train_loop_config={"fit": fit, "work": work},
            scaling_config=_scaling(work),
            run_config=ray.train.RunConfig(storage_path=storage, name=call.stage, failure_config=_failures()),
        )
        trainer.fit()


def _scaling(work: StageWork) -> Any:
    """Return how many workers Ray Train starts; ConfigError where this Ray takes no range."""
    import ray.train

    workers = work.config.train_workers
    elastic = {} if isinstance(workers, int) else {"elastic_resize_monitor_interval_s": RESIZE_SECONDS}
    try:
        return ray.train.ScalingConfig(
            num_workers=workers,
            use_gpu=work.config.gpus_per_worker > 0,
            resources_per_worker=_resources(work),
            **elastic,
        )
    except TypeError as error:
        if not elastic:
            raise
        raise ConfigError(
            f"backend.train_workers: Ray {ray.__version__} takes no range; give a number, or install a newer one"
        ) from error


def _failures() -> Any:
    """Leave every failed attempt to the driver, which counts them; Ray Train by itself only waits for room.

    From 2.60 on it would begin again without end where a node is preempted, within the same attempt.
    """
    import ray.train

    none = {"max_failures": 0, "max_preemption_failures": 0}
    known = {field.name for field in fields(ray.train.FailureConfig)}
    return ray.train.FailureConfig(**{name: limit for name, limit in none.items() if name in known})


def _resources(work: StageWork) -> dict[str, float]:
    """Return what each worker holds: a share of the CPUs, so that a fixed number fits, or the fewest of a range."""
    workers, share = work.config.train_workers, float(work.cpus_per_task)
    total = int(ray.cluster_resources().get("CPU", 1))
    if isinstance(workers, int):
        share = max(0.5, min(share, (total - 0.5) / workers))
    else:
        largest = max(
            (int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]), default=1
        )
        share = max(1.0, min(share, total // workers[0], largest))
    gpus = {"GPU": work.config.gpus_per_worker} if work.config.gpus_per_worker > 0 else {}
    return {"CPU": share, **gpus}


def _train_worker(config: dict[str, Any]) -> None:
    """Run the training function on one Ray Train worker; the first one is watched where that is asked for."""
    import ray.train

    work: StageWork = config["work"]
    context = ray.train.get_context()
    with watching(work) if context.get_world_rank() == 0 else nullcontext(work) as here:
        _train_in(here, context, config["fit"])


def _train_in(work: StageWork, context: Any, fit: Fit) -> None:
    import ray.train.torch

    call = work.call
    device = str(ray.train.torch.get_device()) if call.device != "cpu" else "cpu"
    env = TrainEnv(
        rank=context.get_world_rank(),
        world=context.get_world_size(),
        device=device,
        threads=call.threads,
        precision=call.precision,
        progress=work.note,
        checkpoint_minutes=work.config.checkpoint_minutes,
        warned=work.warned([work.home, *nodes_of_all_workers()]),
        shares_state=work.config.shard_optimizer,
    )
    env.begin()
    fit(env)


@contextmanager
def watching(work: StageWork) -> Iterator[StageWork]:
    """Yield the work with a note that watches what this process computes for it, where a profile is asked for."""
    call = work.call
    with watched(work.profile, call.title, call.device, work.note) as told:
        yield replace(work, note=told)
