"""Class-filtered top-10 retrieval against numpy on the rows of the class."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from engine.retrieval.embedding import unit_rows
from engine.retrieval.index import LesionIndex
from engine.types import strings
from experiments.benchmarks.timing import OURS, compared, in_turns, seconds

CLASSES, WIDTH, K = 7, 128, 10
TARGETS = {10_000: 3.0, 100_000: 10.0, 1_000_000: 50.0}
QUERIES = 3584
PLAIN = {10_000: 1400, 100_000: 280, 1_000_000: 28}
"""Queries per turn of the slower alternative."""
CHECKED = 70
"""Queries whose answers are compared with a whole sort."""


def measure(turns: int, full: bool) -> dict[str, Any]:
    """Return a row per size; random directions, the hardest to index, three images of every two lesions."""
    sizes = [size for size in TARGETS if full or size < 1_000_000]
    return {f"retrieval, {size:,} vectors": of_size(size, turns) for size in sizes}


def of_size(size: int, turns: int) -> dict[str, Any]:
    """Measure one size."""
    rng = np.random.default_rng(0)
    rows = unit_rows(rng.normal(size=(size, WIDTH)).astype(np.float32))
    query = unit_rows(rng.normal(size=(QUERIES, WIDTH)).astype(np.float32))
    of_row, of_query = np.arange(size) % CLASSES, np.arange(QUERIES) % CLASSES
    lesion = np.arange(size) // (3 * CLASSES) * 2 * CLASSES + of_row * 2 + np.arange(size) // CLASSES % 3 // 2
    index = LesionIndex(
        image_id=np.char.mod("i%07d", np.arange(size)),
        lesion_id=np.char.mod("l%07d", lesion),
        dx=strings(of_row),
        fused_NF=rows,
        levels_NLD=np.zeros((size, 0, WIDTH), dtype=np.float32),
    )
    members = [np.flatnonzero(of_row == one) for one in range(CLASSES)]
    parts = [rows[part] for part in members]
    classes, own = strings(of_query), np.full(QUERIES, "")
    build = seconds(lambda: index.search(query[:CLASSES], classes[:CLASSES], own[:CLASSES], K))
    few = PLAIN[size]
    taken = in_turns(
        {
            OURS: lambda: seconds(lambda: index.search(query, classes, own, K), QUERIES),
            "numpy, query by query": lambda: seconds(partial(one_by_one, parts, query[:few]), few),
            "numpy, class by class": lambda: seconds(partial(all_at_once, parts, query), QUERIES),
        },
        turns,
    )
    found = index.search(query[:CHECKED], classes[:CHECKED], own[:CHECKED], K).row_MK
    hits = 0
    for m in range(CHECKED):
        own_class = members[m % CLASSES]
        ranked = own_class[np.argsort(-(parts[m % CLASSES] @ query[m]), kind="stable")]
        first = np.unique(lesion[ranked], return_index=True)[1]
        hits += len(np.intersect1d(ranked[np.sort(first)[:K]], found[m]))
    return compared(
        taken, TARGETS[size], recall=hits / (CHECKED * K), first_search_seconds=build, unit="queries",
        alternative=f"rows by class in float32; product, np.argpartition, sort of {K}; no lesion left out, no ties ordered",
    )  # fmt: skip


def one_by_one(parts: list[Any], query: Any) -> None:
    """The issue's alternative."""
    for m, one in enumerate(query):
        product = parts[m % CLASSES] @ one
        top = np.argpartition(-product, K)[:K]
        top[np.argsort(-product[top])]


def all_at_once(parts: list[Any], query: Any) -> None:
    """What numpy can do for many queries: 64 of a class per product."""
    for number, part in enumerate(parts):
        asked = query[number::CLASSES]
        for start in range(0, len(asked), 64):
            product = asked[start : start + 64] @ part.T
            top = np.argpartition(-product, K, axis=1)[:, :K]
            order = np.argsort(-np.take_along_axis(product, top, axis=1), axis=1)
            np.take_along_axis(top, order, axis=1)
