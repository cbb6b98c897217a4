"""Budget policies: how many synthetic images each hard case gets.

M hard cases; whatever the policy, counts (M,) are >= 0 and sum to the total exactly (no case: an empty array).
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine.types import BudgetState, HardCases, IntArray
from policies.parameters import param
from policies.registry import register


@register("budget", "uniform")
@dataclass(frozen=True, kw_only=True)
class Uniform:
    """Every hard case gets as many; what does not divide goes one each to the hardest."""

    def allocate(self, state: BudgetState, rng: np.random.Generator) -> IntArray:
        """Return counts that differ by at most 1."""
        counts_M = np.zeros(len(state.cases), dtype=np.int64)
        ranked = by_hardness(state.cases)
        counts_M[ranked] = _shares(state.total, len(ranked))
        return counts_M


@register("budget", "class_balanced")
@dataclass(frozen=True, kw_only=True)
class ClassBalanced:
    """Every class among the hard cases gets its share, divided evenly between its cases, hardest first.

    ``equal`` gives the classes the same number (what does not divide goes one each to the classes with the fewest
    training images). ``even_out`` fills up the class with the fewest training + synthetic images, one by one.
    """

    mode: Literal["equal", "even_out"] = param(
        "equal", "equal: as many a class; even_out: until real + synthetic counts are level"
    )

    def allocate(self, state: BudgetState, rng: np.random.Generator) -> IntArray:
        """Return counts (M,); classes without a hard case get nothing."""
        classes = sorted({str(name) for name in state.cases.true})
        real = {name: state.class_counts.get(name, 0) for name in classes}
        start = real if self.mode == "even_out" else dict.fromkeys(classes, 0)
        share = fill_up(start, state.total, sorted(classes, key=lambda name: (real[name], name)))
        ranked = by_hardness(state.cases)
        counts_M = np.zeros(len(ranked), dtype=np.int64)
        for name in classes:
            members = ranked[state.cases.true[ranked] == name]
            counts_M[members] = _shares(share[name], len(members))
        return counts_M


def fill_up(start: Mapping[str, int], total: int, order: Sequence[str]) -> dict[str, int]:
    """Add ``total`` items one by one to the class with the fewest, ties to the earlier in ``order``.

    Returns:
        How many each class got; the values sum to ``total`` (no class: an empty mapping).
    """
    heap = [(start[name], rank, name) for rank, name in enumerate(order)]
    heapq.heapify(heap)
    for _ in range(total if heap else 0):
        count, rank, name = heap[0]
        heapq.heapreplace(heap, (count + 1, rank, name))
    return {name: count - start[name] for count, _, name in heap}


def by_hardness(cases: HardCases) -> IntArray:
    """Return the positions of the cases, hardest first, ties by image_id."""
    return np.lexsort((cases.image_id, -cases.score)).astype(np.int64)


def _shares(total: int, parts: int) -> IntArray:
    """Divide ``total`` into ``parts`` as equal as possible, the larger first."""
    if parts == 0:
        return np.zeros(0, dtype=np.int64)
    return total // parts + (np.arange(parts, dtype=np.int64) < total % parts)
