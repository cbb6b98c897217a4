"""What Ray's errors stand for, in all their wrappings; and, on a real cluster, a node that is preempted."""

from __future__ import annotations

import pickle
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest

from engine.errors import DataError, FullDiskError, NoMemoryError
from engine.execution.attempts import AttemptError
from engine.types import Cause

ray = pytest.importorskip("ray")
from ray import exceptions as rays  # noqa: E402

from engine.execution.ray_causes import found_in  # noqa: E402

pytestmark = [pytest.mark.faults, pytest.mark.ray]
NODE = "c0" * 28


def in_a_task(error: Exception) -> Exception:
    """An error as `ray.get` raises it when a task raised it."""
    made: Exception = rays.RayTaskError("stage_task", "Traceback ...", error).as_instanceof_cause()
    return made


def of_actor(message: str = "worker exit", *, preempted: bool = False) -> Exception:
    error = rays.ActorDiedError()
    error.error_msg, error._preempted = message, preempted
    return error


def group(*failures: Exception) -> Exception:
    from ray.train.v2.api.exceptions import WorkerGroupError

    return WorkerGroupError("2 workers", dict(enumerate(failures)))


def unhealthy(error: Exception) -> Exception:
    from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

    return WorkerHealthCheckFailedError("no answer", error)


def controller(error: Exception) -> Exception:
    from ray.train.v2.api.exceptions import ControllerError

    return ControllerError(error)


def raised_by_a_worker(error: Exception) -> Exception:
    from ray.train.v2._internal.exceptions import UserExceptionWithTraceback

    return UserExceptionWithTraceback(error, "Traceback ...")


LOST = {
    "worker": (rays.WorkerCrashedError(), Cause.WORKER_LOST),
    "actor": (of_actor(), Cause.WORKER_LOST),
    "actor not reached": (rays.ActorUnavailableError("rpc", None), Cause.WORKER_LOST),
    "actor with its node": (of_actor(f"because its node has died. Node Id: {NODE}"), Cause.NODE_LOST),
    "actor preempted": (of_actor(preempted=True), Cause.PREEMPTED),
    "node": (rays.NodeDiedError(f"Node IP: 10.0.0.2, node ID: {NODE}."), Cause.NODE_LOST),
    "raylet": (rays.LocalRayletDiedError(), Cause.NODE_LOST),
    "object": (rays.ObjectLostError("ab", None, ""), Cause.NODE_LOST),
    "owner": (rays.OwnerDiedError("ab", None, ""), Cause.WORKER_LOST),
    "memory": (rays.OutOfMemoryError("Memory on the node was 31 / 32 GB"), Cause.OUT_OF_MEMORY),
    "object store": (rays.ObjectStoreFullError("full"), Cause.OUT_OF_MEMORY),
    "disk": (rays.OutOfDiskError("full"), Cause.DISK_FULL),
}  # fmt: skip


@pytest.mark.parametrize("name", LOST)
def test_a_loss_is_found_alone_and_inside_a_task(name: str) -> None:
    error, cause = LOST[name]
    for seen in (error, in_a_task(error), in_a_task(in_a_task(error))):
        found = found_in(seen)
        assert isinstance(found, AttemptError)
        assert not isinstance(found, rays.RayError)
        assert found.cause is cause
        assert found.said
        assert pickle.loads(pickle.dumps(found)).cause is cause


@pytest.mark.parametrize("name", LOST)
def test_a_loss_is_found_in_ray_train(name: str) -> None:
    error, cause = LOST[name]
    collateral = raised_by_a_worker(RuntimeError("connection closed by peer"))
    for seen in (group(collateral, unhealthy(error)), controller(error)):
        found = found_in(in_a_task(seen))
        assert isinstance(found, AttemptError)
        assert found.cause is cause


def test_workers_that_do_not_come_up_are_lost() -> None:
    from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

    found = found_in(controller(WorkerGroupStartupTimeoutError(2)))
    assert isinstance(found, AttemptError)
    assert found.cause is Cause.WORKER_LOST


def test_of_several_the_preemption_counts() -> None:
    found = found_in(group(unhealthy(of_actor()), unhealthy(of_actor(preempted=True))))
    assert isinstance(found, AttemptError)
    assert found.cause is Cause.PREEMPTED


@pytest.mark.parametrize("wrap", [in_a_task, controller, lambda e: group(raised_by_a_worker(e))])
def test_an_error_of_ours_comes_back_as_it_is(wrap: Any) -> None:
    for error in (DataError("x.csv: is missing"), NoMemoryError("m"), FullDiskError("d")):
        found = found_in(wrap(error))
        assert found == error or (type(found), found.args) == (type(error), error.args)
    beside = found_in(group(raised_by_a_worker(DataError("bad")), unhealthy(of_actor())))
    assert type(beside) is DataError


def test_a_bug_stays_a_bug() -> None:
    for error in (in_a_task(KeyError("k")), rays.RaySystemError("unpickling"), rays.GetTimeoutError("slow")):
        assert found_in(error) is error


def test_an_attempt_that_was_lost_within_a_task_travels_on() -> None:
    found = found_in(in_a_task(AttemptError(Cause.PREEMPTED, "node 3")))
    assert (type(found), found.args) == (AttemptError, (Cause.PREEMPTED, "node 3"))


def test_a_node_that_is_drained_or_was_is_preempted(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.execution import ray_causes

    cluster = SimpleNamespace(is_initialized=lambda: True, nodes=lambda: [])
    monkeypatch.setattr(ray_causes, "ray", cluster)
    drained: dict[str, int] = {}
    monkeypatch.setattr(ray_causes.cluster_state, "get_draining_nodes", lambda: drained)
    error = LOST["node"][0]
    dead = [{"NodeID": NODE, "DeathReason": reason} for reason in (2, 3)]
    for nodes, now, cause in (
        ([], {}, Cause.NODE_LOST),
        ([dead[0]], {}, Cause.NODE_LOST),
        ([dead[1]], {}, Cause.PREEMPTED),
        ([], {NODE: 1}, Cause.PREEMPTED),
        ([], {"d1" * 28: 1}, Cause.NODE_LOST),
    ):
        cluster.nodes, drained = (lambda nodes=nodes: nodes), now
        found = found_in(error)
        assert isinstance(found, AttemptError)
        assert found.cause is cause


def long_work() -> None:
    time.sleep(100)


@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.timeout(200)
@pytest.mark.parametrize(("drained", "cause"), [(True, Cause.PREEMPTED), (False, Cause.NODE_LOST)])
def test_a_node_of_a_real_cluster_goes(drained: bool, cause: Cause) -> None:
    from ray._private.worker import global_worker
    from ray.cluster_utils import Cluster
    from ray.core.generated import autoscaler_pb2

    ray.shutdown()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        node = cluster.add_node(num_cpus=1, resources={"spot": 1.0})
        cluster.wait_for_nodes()
        ray.init(address=cluster.address, log_to_driver=False)
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        task = ray.remote(long_work).options(max_retries=0, resources={"spot": 1.0}).remote()
        time.sleep(4)
        if drained:
            reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
            deadline = int(1000 * (time.time() + 1))
            assert global_worker.gcs_client.drain_node(node.node_id, reason, "spot", deadline)[0]
        cluster.remove_node(node, allow_graceful=False)
        with pytest.raises(rays.RayError) as caught:
            ray.get(task, timeout=100)
        found = found_in(caught.value)
        assert isinstance(found, AttemptError)
        assert found.cause is cause
    finally:
        ray.shutdown()
        cluster.shutdown()
