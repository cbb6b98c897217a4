"""Visits every node of a Ray cluster for `hardcase doctor`."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from engine.execution.node_facts import OF_DRIVER, NodeFacts, look_around
from engine.execution.ray_address import connect, first_line

PATIENCE: Final = 60.0
"""Seconds for a node to answer; a worker's first start takes some."""


def visit(address: str, output: Path, packages: Sequence[str]) -> tuple[NodeFacts, ...]:
    """Let every node of the cluster at ``address`` look around and write into ``output``; what it wrote is read back here.

    Disconnects where this process was not connected before.

    Raises:
        ConfigError: nothing answers at the address.
        OSError: ``output`` cannot be written from here.
    """
    joined = not ray.is_initialized()
    if joined:
        connect(address)
    token = secrets.token_hex(16)
    folder = output.resolve() / f".probe-{token}"
    try:
        folder.mkdir(parents=True)
        (folder / OF_DRIVER).write_text(token, encoding="utf-8")
        visitors = [_Visitor(node, folder, token, tuple(packages)) for node in ray.nodes() if node["Alive"]]
        started = [visitor.start() for visitor in visitors]  # all at once
        return tuple(visitor.found(first) for visitor, first in zip(visitors, started, strict=True))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if joined:
            ray.shutdown()


@dataclass(frozen=True)
class _Visitor:
    """Visits one node."""

    node: dict[str, Any]
    folder: Path
    token: str
    packages: tuple[str, ...]

    def start(self) -> Any:
        """Start looking around there; returns Ray's reference to what is found."""
        return self._call(look_around, self.folder, self.token, self.packages)

    def found(self, first: Any) -> NodeFacts:
        """Return what the node found, and what only the driver knows; clocks are compared over a quick call."""
        address, resources = self.node["NodeManagerAddress"], self.node["Resources"]
        kinds = {name: resources[name] for name in ("CPU", "GPU") if name in resources}
        try:
            facts: NodeFacts = ray.get(first, timeout=PATIENCE)
            before = time.time()
            there: float = ray.get(self._call(time.time), timeout=PATIENCE)
            ahead = there - (before + time.time()) / 2
        except RayError as error:
            return NodeFacts(address=address, resources=kinds, answered=False, problem=first_line(error))
        problem = facts.problem or self._read_back(facts.wrote)
        return replace(facts, address=address, resources=kinds, ahead=ahead, problem=problem)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        there = NodeAffinitySchedulingStrategy(self.node["NodeID"], soft=False)
        task = ray.remote(lambda: function(*arguments))
        return task.options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote()

    def _read_back(self, name: str) -> str:
        """Return why what the node wrote cannot be read here, "" where it can."""
        try:
            with (self.folder / name).open("rb") as handle:
                same = handle.read(len(self.token)) == self.token.encode()
        except OSError as error:
            return f"what it wrote there cannot be read here ({error.strerror or error}): it is not the same folder"
        return "" if same else "what it wrote there is not what is read here: it is not the same folder"
