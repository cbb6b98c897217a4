"""Hears that a node is about to be taken away, so that a training keeps its state before that."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import ray
from ray._private.state import state as cluster_state

from engine.artifacts.secrets import masking_logger

LOG = masking_logger("hardcase.drains")
LOOK_EVERY = 2.0
"""Seconds between two looks; a spot node gives half a minute's notice, or two."""


@dataclass
class DrainNotice:
    """Called after each step of a training: true once per node of ``nodes`` that Ray is draining.

    A node that Ray drains takes no new work, and goes at its deadline (a spot node that is reclaimed, for one).
    """

    nodes: frozenset[str]
    told: set[str] = field(default_factory=set)
    looked: float = float("-inf")

    def __call__(self) -> bool:
        """Return whether a node is on its way out of which this did not tell before."""
        now = time.monotonic()
        if now - self.looked < LOOK_EVERY:
            return False
        self.looked = now
        try:
            draining = set(cluster_state.get_draining_nodes())
        except Exception as error:  # the head is away for a moment: no reason to end a training
            LOG.warning("draining nodes could not be asked for: %s", error)
            return False
        new = (draining & self.nodes) - self.told
        self.told |= new
        return bool(new)


def this_node() -> str:
    """Return the id of the node on which this process works."""
    return str(ray.get_runtime_context().get_node_id())


def notice_for(nodes: Iterable[str]) -> DrainNotice:
    """Return what to ask whether one of the nodes, or this one, is about to go."""
    return DrainNotice(frozenset({*nodes, this_node()} - {""}))


def nodes_of_all_workers() -> list[str]:
    """Return the nodes on which the workers of this training work; every one of them must ask."""
    import torch.distributed as dist

    if not dist.is_initialized() or dist.get_world_size() == 1:
        return [this_node()]
    found = [""] * dist.get_world_size()
    dist.all_gather_object(found, this_node())
    return found
