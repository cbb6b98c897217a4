"""States of query policies for their tests."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from engine.types import Query, QueryState, strings

CLASSES = ("bkl", "mel", "nv")


def unlabelled(
    prob: list[list[float]],
    groups: list[str] | None = None,
    *,
    total: int = 100,
    labels: list[int] | None = None,
    seed: int = 0,
    **changes: Any,
) -> QueryState:
    """Candidates u000.. of the given probabilities, each a group of its own by default; features at random.

    ``labels`` are those of the labelled images (three of each class by default).
    """
    rng = np.random.default_rng(seed)
    count, labelled = len(prob), [0, 1, 2] * 3 if labels is None else labels
    prob_NC = np.array(prob, dtype=np.float64).reshape(count, 3)
    state = QueryState(
        image_id=strings([f"u{n:03d}" for n in range(count)]),
        group=strings([""] * count if groups is None else groups),
        classes=CLASSES,
        prob_NC=prob_NC,
        feature_NF=rng.normal(size=(count, 4)).astype(np.float32),
        labelled_feature_MF=rng.normal(size=(len(labelled), 4)).astype(np.float32),
        labelled_label_M=np.array(labelled, dtype=np.int64),
        total=total,
        round=1,
        draws_TNC=np.stack([prob_NC, prob_NC[:, ::-1], rng.dirichlet(np.ones(3), count)]),
    )
    return dataclasses.replace(state, **changes)


def line(points: list[float], at: list[float], **changes: Any) -> QueryState:
    """Candidates at points of a line, labelled images at others, all of the same probabilities."""
    return unlabelled(
        [[0.5, 0.3, 0.2]] * len(points),
        feature_NF=np.array(points, dtype=np.float32)[:, None],
        labelled_feature_MF=np.array(at, dtype=np.float32)[:, None],
        labelled_label_M=np.zeros(len(at), dtype=np.int64),
        **changes,
    )


def asked(policy: Any, state: QueryState, seed: int = 0) -> Query:
    query: Query = policy.query(state, np.random.default_rng(seed))
    return query


def ids(policy: Any, state: QueryState, seed: int = 0) -> list[str]:
    return [str(name) for name in state.image_id[asked(policy, state, seed).chosen]]
