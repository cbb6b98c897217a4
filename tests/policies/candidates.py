"""States of selection policies for their tests."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from engine.types import Selection, SelectionState, strings

CLASSES = ("bkl", "mel", "nv")


def candidates(
    labels: list[int],
    *,
    passed: list[bool] | None = None,
    total: int = 100,
    round: int = 1,
    seed: int = 0,
    generated: dict[str, int] | None = None,
    **changes: Any,
) -> SelectionState:
    """Candidates s000.. of the given labels, with probabilities and features at random; six real lesions, two a class."""
    rng = np.random.default_rng(seed)
    count = len(labels)
    state = SelectionState(
        sample_id=strings([f"s{n:03d}" for n in range(count)]),
        label_S=np.array(labels, dtype=np.int64),
        classes=CLASSES,
        parent_image_id=strings([f"p{n % 4}" for n in range(count)]),
        passed_S=np.array([True] * count if passed is None else passed, dtype=np.bool_),
        judge_prob_SC=rng.dirichlet(np.ones(3), count),
        classifier_prob_SC=rng.dirichlet(np.ones(3), count),
        target_SC=np.eye(3)[labels].reshape(count, 3),
        feature_SF=rng.normal(size=(count, 5)).astype(np.float32),
        real_feature_NF=rng.normal(size=(6, 5)).astype(np.float32),
        real_prob_NC=rng.dirichlet(np.ones(3), 6),
        real_label_N=np.array([0, 0, 1, 1, 2, 2]),
        total=total,
        round=round,
        generated=generated or {},
    )
    return dataclasses.replace(state, **changes)


def chosen(policy: Any, state: SelectionState, seed: int = 0) -> Selection:
    selection: Selection = policy.select(state, np.random.default_rng(seed))
    return selection


def kept(policy: Any, state: SelectionState, seed: int = 0) -> list[str]:
    return [str(name) for name in state.sample_id[chosen(policy, state, seed).keep_S]]
