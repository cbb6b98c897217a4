"""Machines that go and come in the middle of a training: it keeps its state before, and takes those that are there."""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.artifacts.whole_files import write_text
from engine.config import BackendConfig
from engine.errors import ConfigError
from engine.execution import ray_drains, ray_stage, ray_training
from engine.execution.backend import StageCall
from engine.execution.progress_file import ProgressFile
from engine.execution.ray_drains import DrainNotice
from engine.store import RunFolder
from engine.training.plan import TrainEnv
from engine.types import Cause
from tests.engine.execution.again import again, assert_as_undisturbed

ray = pytest.importorskip("ray")


def test_each_node_is_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    drained: dict[str, int] = {"other": 1}
    monkeypatch.setattr(ray_drains, "cluster_state", SimpleNamespace(get_draining_nodes=lambda: drained))
    monkeypatch.setattr(ray_drains, "LOOK_EVERY", 0.0)
    notice = DrainNotice(frozenset({"a", "b"}))
    assert not notice(), "a node on which nothing of it works"
    drained["a"] = 1
    assert notice() and not notice()
    drained["b"] = 1
    assert notice() and not notice()


def test_looks_are_seconds_apart_and_a_head_that_is_away_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks: list[float] = []

    def fails() -> dict[str, int]:
        looks.append(time.monotonic())
        raise RuntimeError("no head")

    monkeypatch.setattr(ray_drains, "cluster_state", SimpleNamespace(get_draining_nodes=fails))
    notice = DrainNotice(frozenset({"a"}))
    assert not any(notice() for _ in range(1000))
    assert len(looks) == 1
    assert "no head" in caplog.text


def work_of(folder: Path, workers: Any) -> ray_stage.StageWork:
    call = StageCall(
        stage="vae", out=folder, inputs={}, params={}, seed=0, threads=1, device="cpu", precision="float32",
        checkpoint=folder,
    )  # fmt: skip
    config = BackendConfig(kind="ray", train_workers=workers)
    return ray_stage.StageWork(config=config, call=call, cpus_per_task=1, note=ProgressFile(folder / "note"))


@pytest.mark.parametrize(
    ("workers", "threads", "nodes", "cpus"),
    [
        (2, 1, [2], 0.75),
        ((1, 4), 1, [2], 1.0),
        ((1, 4), 8, [4, 4], 4.0),
        ((2, 4), 2, [3], 1.0),
        ((2, 4), 2, [1, 1, 1], 1.0),
        ((2, 3), 2, [8], 2.0),
    ],
)
def test_what_ray_train_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: Any, threads: int, nodes: list[int], cpus: float
) -> None:
    """The fewest fit, whatever the machines are like."""
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": float(sum(nodes))})
    there = [{"Alive": True, "Resources": {"CPU": float(count)}} for count in nodes]
    gone = {"Alive": False, "Resources": {"CPU": 64.0}}
    monkeypatch.setattr(ray, "nodes", lambda: [*there, gone])
    scaling = ray_training._scaling(replace(work_of(tmp_path, workers), cpus_per_task=threads))
    assert scaling.num_workers == workers
    assert scaling.resources_per_worker == {"CPU": cpus}


def test_a_ray_that_takes_no_range_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def older(*, num_workers: int, use_gpu: bool, resources_per_worker: Any) -> None:
        raise AssertionError("not reached: it knows no interval")

    import ray.train

    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    monkeypatch.setattr(ray, "nodes", lambda: [])
    monkeypatch.setattr(ray.train, "ScalingConfig", older)
    with pytest.raises(ConfigError, match=r"backend\.train_workers: Ray .* takes no range; give a number"):
        ray_training._scaling(work_of(tmp_path, (1, 2)))


def test_ray_train_begins_nothing_again_by_itself() -> None:
    limits = ray_training._failures()
    assert limits.max_failures == 0
    assert getattr(limits, "max_preemption_failures", 0) == 0, "or the driver does not count them"


def real_cluster(test: Any) -> Any:
    """Mark a test that starts a cluster and ends machines of it."""
    for mark in (
        pytest.mark.faults,
        pytest.mark.ray,
        pytest.mark.slow,
        pytest.mark.heavy,
        pytest.mark.timeout(400),
    ):
        test = mark(test)
    return test


class Machines:
    """A cluster whose head computes nothing, and nodes of one CPU each that may go and come."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes: dict[str, Any] = {}

    def add(self) -> None:
        node = self.cluster.add_node(num_cpus=1)
        self.nodes[node.node_id] = node

    def remove(self, node_id: str) -> None:
        self.cluster.remove_node(self.nodes.pop(node_id), allow_graceful=False)


@pytest.fixture
def machines() -> Iterator[Machines]:
    ray.shutdown()
    found = Machines()
    found.add()
    found.cluster.wait_for_nodes()
    ray.init(address=found.cluster.address, log_to_driver=False)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield found
    ray.shutdown()
    found.cluster.shutdown()


class Observed(ray_stage.StageWork):
    """Notes in the cache which worker does which step where, and what an attempt was handed; waits as it is told to."""

    def launch(self, fit: Callable[[TrainEnv], None]) -> None:
        ray_training.RESIZE_SECONDS = 2.0  # type: ignore[misc]
        cache = self.call.out.parent.parent
        number = self.call.out.parent.name.partition(".attempt-")[2].partition("-")[0]
        handed_on = sorted(path.name for path in self.call.checkpoint.rglob("checkpoint-*"))
        write_text(cache / f".handed_on-{number}", " ".join(handed_on))
        super().launch(functools.partial(observed, fit, cache, number))


def observed(fit: Callable[[TrainEnv], None], cache: Path, attempt: str, env: TrainEnv) -> None:
    ray_drains.LOOK_EVERY = 0.0
    told = env.progress

    def note(what: str, done: int, total: int) -> None:
        if told is not None:
            told(what, done, total)
        write_text(cache / f".step-{attempt}-{env.world}-{done:02d}", ray_drains.this_node())
        wait = cache / f".wait-{done:02d}"
        while wait.exists():
            time.sleep(0.1)

    write_text(cache / f".begun-{attempt}-{env.world}-{env.rank}", ray_drains.this_node())
    fit(replace(env, progress=note))


def until(found: Callable[[], Any], stage: Future[Any] | None = None, seconds: float = 150.0) -> Any:
    """Wait for something true; a stage that ends before that raises its error."""
    end = time.monotonic() + seconds
    while not (value := found()):
        if stage is not None and stage.done():
            stage.result()
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.1)
    return value


def drain(node_id: str) -> None:
    from ray._private.worker import global_worker
    from ray.core.generated import autoscaler_pb2

    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    deadline = int(1000 * (time.time() + 120))
    assert global_worker.gcs_client.drain_node(node_id, reason, "spot", deadline)[0]
    until(lambda: node_id in ray_drains.cluster_state.get_draining_nodes())


def begun(run: Path, root: Path, workers: Any) -> Future[Any]:
    """Begin the stage in a thread: nodes are added in the main one alone."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(again, run, "foundation/vae", root, train_workers=workers)
    pool.shutdown(wait=False)
    return future


@pytest.mark.parametrize("workers", [0, 1])
@real_cluster
def test_a_training_keeps_its_state_before_its_machine_goes(
    tmp_path: Path, tiny_run: Path, machines: Machines, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(ray_stage, "StageWork", Observed)
    (tmp_path / ".wait-04").touch()  # before the checkpoint of step 6, after that of step 3
    (tmp_path / ".wait-05").touch()

    stage = begun(tiny_run, tmp_path, workers)
    home = until(lambda: next(iter(tmp_path.glob(".step-1-1-04")), None)).read_text()
    drain(home)
    (tmp_path / ".wait-04").unlink()
    until(lambda: next(iter(tmp_path.glob(".step-1-1-05")), None))
    machines.remove(home)
    machines.add()
    until((tmp_path / ".handed_on-2").exists, stage)
    (tmp_path / ".wait-05").unlink()
    folder = stage.result(timeout=200)
    assert "checkpoint-00000004-" in (tmp_path / ".handed_on-2").read_text()
    assert not list(tmp_path.glob(".step-2-1-04")) and list(tmp_path.glob(".step-2-1-05"))
    assert_as_undisturbed(tiny_run, "foundation/vae", folder, Cause.PREEMPTED)


@real_cluster
def test_a_training_of_a_range_takes_the_machines_that_are_there(
    tmp_path: Path, tiny_run: Path, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It grows when a machine comes, goes on with one when the other is lost, and its losses are those of one worker."""
    monkeypatch.setattr(ray_stage, "StageWork", Observed)
    (tmp_path / ".wait-04").touch()
    (tmp_path / ".wait-07").touch()

    stage = begun(tiny_run, tmp_path, (1, 2))
    until(lambda: list(tmp_path.glob(".step-1-1-04")))
    machines.add()
    until(lambda: list(tmp_path.glob(".begun-1-2-1")))
    (tmp_path / ".wait-04").unlink()
    until(lambda: list(tmp_path.glob(".step-1-2-07")))
    machines.remove((tmp_path / ".begun-1-2-1").read_text())
    until((tmp_path / ".handed_on-2").exists, stage)
    (tmp_path / ".wait-07").unlink()
    folder = stage.result(timeout=200)
    (failure,) = folder.failed
    assert failure.cause in (Cause.NODE_LOST, Cause.WORKER_LOST), "whichever Ray hears of first"
    assert list(tmp_path.glob(".begun-2-1-0")) and not list(tmp_path.glob(".begun-2-2-*"))
    losses = [
        json.loads((path / "vae.json").read_text())["losses"]
        for path in (folder.path, RunFolder.open(tiny_run).stage("foundation/vae").path)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
