"""Measures what it takes to choose 50 of 100,000 unlabelled images: seconds and memory of every query policy.

usage: python -m experiments.query_size [--candidates 25000 100000] [--total 50] [--labelled 500]

Probabilities, features and draws are random: features without any structure are the hardest to cluster. Two candidates show
one lesion. Every policy runs in a process of its own, whose peak memory is read before and after; the state itself
(features, probabilities, draws) is not counted. Prediction is no part of it. OMP_NUM_THREADS sets the threads.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from engine.data.readers.arrays import DERMAMNIST as CLASSES
from engine.types import DrawRequest, QueryState, strings
from experiments.lib.keeping import provenance, save, script, this_command
from policies import registry

FEATURES = 512
MEMBERS = 6
"""A committee: the classifier and five folds of the judge."""
SPECS: Mapping[str, Mapping[str, Any]] = {"typical_then_uncertain": {"labels_per_class": 1e9}}
"""Parameters beside the defaults: typical images, whatever number of labels there is."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How many candidates there are, how many are asked about, and how many labelled images the classifier has."""

    candidates: int
    total: int
    labelled: int


def main() -> None:
    """Measure every policy at every size and keep the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--candidates", type=int, nargs="+", default=[25_000, 100_000])
    parser.add_argument("--total", type=int, default=50, help="questions to choose")
    parser.add_argument("--labelled", type=int, default=500, help="labelled images")
    given = parser.parse_args()
    sizes = [Size(candidates=count, total=given.total, labelled=given.labelled) for count in given.candidates]
    figures = {
        name: [alone(name, balanced, size) for size in sizes for balanced in (False, True)]
        for name in registry.names("query")
    }
    save(
        "query_size",
        {
            "provenance": provenance(this_command()),
            "threads": os.environ.get("OMP_NUM_THREADS", "not set"),
            "features": FEATURES,
            "classes": len(CLASSES),
            "labelled": given.labelled,
            "total": given.total,
            "policies": figures,
        },
    )
    show(figures)


def alone(name: str, balanced: bool, size: Size) -> dict[str, Any]:
    """Measure a policy in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measured, name, balanced, size).result()


def measured(name: str, balanced: bool, size: Size) -> dict[str, Any]:
    """Return seconds, processor seconds and MiB beyond the state that a policy takes, and how many it asked about."""
    policy = registry.make("query", {"name": name, "balanced": balanced, **SPECS.get(name, {})})
    state = random_state(size, policy.wanted)
    before, start, used = peak(), time.perf_counter(), time.process_time()
    query = policy.query(state, np.random.default_rng(0))
    return {
        "candidates": size.candidates,
        "balanced": balanced,
        "seconds": time.perf_counter() - start,
        "processor_seconds": time.process_time() - used,
        "mebibytes": (peak() - before) / 2**20,
        "state_mebibytes": sum(
            column.nbytes for column in vars(state).values() if isinstance(column, np.ndarray)
        )
        / 2**20,
        "asked": len(query.chosen),
    }


def random_state(size: Size, wanted: DrawRequest | None) -> QueryState:
    """Return a state without structure, made in float32 from the start, so that making it has no peak of its own."""
    rng = np.random.default_rng(1)
    count = size.candidates
    draws = None
    if wanted is not None:
        draws = np.empty((wanted.count or MEMBERS, count, len(CLASSES)), dtype=np.float32)
        for draw_NC in draws:
            draw_NC[:] = probabilities(rng, count)
    return QueryState(
        image_id=strings([f"image_{row:07d}" for row in range(count)]),
        group=strings([f"lesion_{row // 2:07d}" for row in range(count)]),
        classes=CLASSES,
        prob_NC=probabilities(rng, count),
        feature_NF=rng.standard_normal((count, FEATURES), dtype=np.float32),
        labelled_feature_MF=rng.standard_normal((size.labelled, FEATURES), dtype=np.float32),
        labelled_label_M=rng.integers(len(CLASSES), size=size.labelled),
        total=size.total,
        round=1,
        draws_TNC=draws,
    )


def probabilities(rng: np.random.Generator, count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return rows drawn uniformly among all that sum to 1, (N, C)."""
    prob_NC = rng.standard_exponential((count, len(CLASSES)), dtype=np.float32)
    return prob_NC / prob_NC.sum(axis=1, keepdims=True)


def peak() -> int:
    """Return the largest resident memory that this process has had, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def show(figures: Mapping[str, list[dict[str, Any]]]) -> None:
    """Print the figures."""
    table = Table(title="choosing questions")
    for column in (
        "policy",
        "candidates",
        "balanced",
        "seconds",
        "processor seconds",
        "MiB beyond the state",
    ):
        table.add_column(column)
    for name, rows in figures.items():
        for row in rows:
            table.add_row(
                name,
                f"{row['candidates']:,}",
                str(row["balanced"]).lower(),
                f"{row['seconds']:.2f}",
                f"{row['processor_seconds']:.2f}",
                f"{row['mebibytes']:.0f}",
            )
    Console().print(table)


if __name__ == "__main__":
    script(main)
