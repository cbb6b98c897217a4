"""A Ray cluster on this machine whose nodes go away while a stage runs on them, each stage once."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import ray

from engine.execution.backend import StageCall
from engine.execution.ray_backend import RayBackend
from engine.execution.ray_stage import StageWork, stage_task
from engine.stages import find
from engine.store.files import write_json
from engine.training.plan import Progress

if TYPE_CHECKING:
    from ray import ObjectRef

HOLD_SECONDS: Final = 120.0
"""How long an attempt that said where it runs waits for its end; it goes on where none comes."""
STEPS_BEFORE: Final = 2
"""Steps of its work that an attempt makes before."""


@dataclass
class Holding:
    """A Progress that, at its STEPS_BEFORE-th call or the last, says where it runs and waits for the end of this process."""

    inner: Progress
    sign: Path
    calls: int = 0

    def __call__(self, what: str, done: int, total: int) -> None:
        """Pass the step on, then perhaps wait."""
        self.inner(what, done, total)
        self.calls += 1
        if self.calls == STEPS_BEFORE or (done == total and self.calls < STEPS_BEFORE):
            hold(self.sign, f"{what} {done} of {total}")


def hold(sign: Path, at: str) -> None:
    """Say where this process runs and what it is at, then wait; an attempt holds once."""
    if sign.exists():
        return
    place = {"node": ray.get_runtime_context().get_node_id(), "pid": os.getpid(), "at": at}
    write_json(sign, place)
    time.sleep(HOLD_SECONDS)


def held_task(call: StageCall, work: StageWork, sign: Path) -> None:
    """Make an attempt that holds in its midst; at its start where the stage has no steps, at its end where it took none."""
    stage = find(call.stage)
    if stage.trains or stage.maps:
        work = replace(work, note=Holding(work.note, sign))
    else:
        hold(sign, "its start")
    stage_task(call, work)
    hold(sign, "its end")


class HoldingBackend(RayBackend):
    """The Ray backend, whose first attempt at each stage of a cache waits for its node to go away."""

    signs: Path

    def submit(self, call: StageCall, work: StageWork) -> ObjectRef[None]:
        """Begin the stage as a task; a second attempt as ever."""
        if ".attempt-1-" not in call.out.parent.name:
            return super().submit(call, work)
        options = {**work.stage_resources, "name": f"stage:{call.stage}"}
        sign = self.signs / f"{call.title}.json"
        begun: ObjectRef[None] = ray.remote(held_task).options(**options).remote(call, work, sign)
        return begun


class Leaving:
    """Takes a node away from the cluster wherever an attempt holds, and adds another one in its place."""

    def __init__(self, cluster: Any, signs: Path, cpus: int) -> None:
        """Watch the folder ``signs`` until ``stop``; nodes have ``cpus`` CPUs."""
        self.cluster, self.signs, self.cpus = cluster, signs, cpus
        self.taken: list[dict[str, Any]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="leaving", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no more away."""
        self._stopping.set()
        self._thread.join()

    def _watch(self) -> None:
        seen: set[str] = set()
        while not self._stopping.wait(0.05):
            for sign in sorted(self.signs.glob("*.json")):
                if sign.name not in seen:
                    seen.add(sign.name)
                    self._take(sign.stem, json.loads(sign.read_text(encoding="utf-8")))

    def _take(self, stage: str, place: dict[str, Any]) -> None:
        node = next((n for n in self.cluster.worker_nodes if n.node_id == place["node"]), None)
        if node is None:  # the head holds the driver: its worker alone is killed
            os.kill(place["pid"], signal.SIGKILL)
        else:
            self.cluster.remove_node(node, allow_graceful=False)
            self.cluster.add_node(num_cpus=self.cpus)
        self.taken.append({"stage": stage, "at": place["at"], "what": "worker" if node is None else "node"})


@contextmanager
def nodes(count: int, cpus: int) -> Iterator[Any]:
    """Start a cluster of ``count`` nodes with ``cpus`` CPUs each, beside a head that has none."""
    from ray.cluster_utils import Cluster

    cluster = (
        Cluster(  # hooks at exit could be set by the main thread alone, which is not the one that adds nodes
            initialize_head=True,
            shutdown_at_exit=False,
            head_node_args={"num_cpus": 0, "include_dashboard": False},
        )
    )
    for _ in range(count):
        cluster.add_node(num_cpus=cpus)
    cluster.wait_for_nodes()
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
