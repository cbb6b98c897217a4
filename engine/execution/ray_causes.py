"""What Ray's errors say of a stage that failed: an error of ours, or what happened to its worker or node.

An error travels up through several wrappings: RayTaskError (``cause``), Ray Data's UserCodeException (``cause``), Ray
Train's WorkerGroupError (``worker_failures``), ControllerError (``controller_failure``), WorkerHealthCheckFailedError
(``health_check_failure``), UserExceptionWithTraceback (``_base_exc``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

import ray
from ray import exceptions as rays
from ray._private.state import state as cluster_state

from engine.artifacts.machine_faults import one_line
from engine.errors import FullDiskError, HardcaseError, NoMemoryError
from engine.execution.attempts import AttemptError
from engine.types import Cause

_INSIDE: Final = ("cause", "controller_failure", "health_check_failure", "_base_exc", "__cause__")
"""Attributes that hold what an error wraps."""

_SAYS: Final = (
    (rays.OutOfMemoryError, Cause.OUT_OF_MEMORY),
    (rays.ObjectStoreFullError, Cause.OUT_OF_MEMORY),
    (rays.OutOfDiskError, Cause.DISK_FULL),
    (rays.NodeDiedError, Cause.NODE_LOST),
    (rays.LocalRayletDiedError, Cause.NODE_LOST),
    (rays.ObjectReconstructionFailedError, Cause.NODE_LOST),
    (rays.OwnerDiedError, Cause.WORKER_LOST),
    (rays.ObjectLostError, Cause.NODE_LOST),
    (rays.WorkerCrashedError, Cause.WORKER_LOST),
    (rays.RpcError, Cause.WORKER_LOST),
    (rays.TaskPlacementGroupRemoved, Cause.WORKER_LOST),
    (rays.ActorPlacementGroupRemoved, Cause.WORKER_LOST),
)
"""(Error of Ray, what happened), the first that fits; ActorDiedError and ActorUnavailableError are looked at closer.

What is not here would come again or is a bug: RaySystemError, TaskCancelledError, RuntimeEnvSetupError,
TaskUnschedulableError, GetTimeoutError, and what a task raised.
"""

_TRAIN_RETRIES: Final = frozenset({
    "WorkerGroupStartupFailedError", "WorkerGroupStartupTimeoutError", "WorkerHealthCheckTimeoutError",
})  # fmt: skip
"""Errors of Ray Train by name (importing it takes a second): workers did not come up, or stopped answering."""

_WEIGHT: Final = (Cause.PREEMPTED, Cause.OUT_OF_MEMORY, Cause.DISK_FULL, Cause.NODE_LOST, Cause.WORKER_LOST)
"""Which cause counts where several workers of one attempt failed. When one goes, the others fail for want of it."""

_NODE_ID: Final = re.compile(r"node[ _]id[:=] ?([0-9a-f]{56})", re.IGNORECASE)
_NODE_HAS_DIED: Final = "its node has died"
"""What Ray says of an actor that went with its node."""
_PREEMPTED: Final = 3
"""``AUTOSCALER_DRAIN_PREEMPTED`` of Ray's NodeDeathInfo, as ``ray.nodes()`` gives it."""


def found_in(error: BaseException) -> BaseException:
    """Return what an error of Ray stands for: an error of ours, an AttemptError, or the error itself."""
    inside = list(_walk(error, set()))
    ours = [e for e in inside if isinstance(e, HardcaseError) and not isinstance(e, rays.RayTaskError)]
    said = {cause: e for e in reversed(inside) if (cause := _cause(e)) is not None}
    newest = next((cause for cause in _WEIGHT if cause in said), None)
    if ours and (newest is None or not isinstance(ours[0], NoMemoryError | FullDiskError)):
        return ours[0]
    return error if newest is None else AttemptError(newest, one_line(said[newest]))


def _walk(error: BaseException, seen: set[int]) -> Iterator[BaseException]:
    """Yield an error and all that it wraps, each once, the outermost first."""
    if id(error) in seen:
        return
    seen.add(id(error))
    yield error
    for name in _INSIDE:
        inner = getattr(error, name, None)
        if isinstance(inner, BaseException):
            yield from _walk(inner, seen)
    failures: Any = getattr(error, "worker_failures", None)
    for inner in failures.values() if isinstance(failures, dict) else ():
        if isinstance(inner, BaseException):
            yield from _walk(inner, seen)


def _cause(error: BaseException) -> Cause | None:
    """Return what one error says by itself; Ray's wrapping is of the class of what it wraps, too, and says nothing."""
    if isinstance(error, rays.RayTaskError):
        return None
    if isinstance(error, AttemptError):
        return error.cause
    if type(error).__name__ == "PreemptionError":
        return Cause.PREEMPTED
    if isinstance(error, rays.RayActorError):
        return _of_actor(error)
    cause = next((cause for kind, cause in _SAYS if isinstance(error, kind)), None)
    if cause is None and type(error).__name__ in _TRAIN_RETRIES:
        return Cause.WORKER_LOST
    return Cause.PREEMPTED if cause is Cause.NODE_LOST and _was_preempted(str(error)) else cause


def _of_actor(error: rays.RayActorError) -> Cause | None:
    """Return what ended an actor; nothing where its constructor raised: that error is looked at by itself."""
    if error.actor_init_failed:
        return None
    if error.preempted or _was_preempted(str(error)):
        return Cause.PREEMPTED
    return Cause.NODE_LOST if _NODE_HAS_DIED in str(error) else Cause.WORKER_LOST


def _was_preempted(message: str) -> bool:
    """Whether the node a message names is being drained, or was; a node that computes is drained for a preemption alone."""
    match = _NODE_ID.search(message)
    if match is None or not ray.is_initialized():
        return False
    node = match[1]
    if node in cluster_state.get_draining_nodes():  # minutes before Ray counts the node as dead
        return True
    return any(n["NodeID"] == node and n.get("DeathReason") == _PREEMPTED for n in ray.nodes())
