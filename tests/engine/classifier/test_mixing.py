"""Batches hold the asked share of added images, and none of them at the end."""

from __future__ import annotations

import numpy as np
import pytest

from engine.classifier.mixing import MixedBatches
from engine.config import MixConfig
from engine.training.plan import TrainPlan, draw_rows

PLAN = TrainPlan(name="fit", seed=0, steps=10, batch_size=8, lr=1e-3)
ADDED_N = np.arange(30) >= 20


def batches(
    added_N: np.ndarray = ADDED_N, weights_N: np.ndarray | None = None, **mix: object
) -> MixedBatches:
    weights = np.ones(len(added_N)) if weights_N is None else weights_N
    return MixedBatches(weights_N=weights, added_N=added_N, mix=MixConfig.model_validate(mix), plan=PLAN)


@pytest.mark.parametrize(("share", "count"), [(0.5, 4), (0.25, 2), (0.9, 7)])
def test_a_share_of_every_batch_is_added_images(share: float, count: int) -> None:
    draw = batches(share=share)
    for step in range(10):
        rows = draw(step)
        assert len(rows) == 8
        assert ADDED_N[rows].sum() == count


def test_both_kinds_walk_through_epochs_of_their_own() -> None:
    draw = batches(share=0.5)
    seen = np.concatenate([draw(step) for step in range(5)])
    assert sorted(seen[~ADDED_N[seen]]) == list(range(20)), "20 own images in five steps of four"
    assert sorted(np.unique(seen[ADDED_N[seen]])) == list(range(20, 30))


def test_the_last_steps_see_own_images_alone() -> None:
    draw = batches(finish_on_real=3)
    assert [bool(ADDED_N[draw(step)].any()) for step in range(7, 10)] == [False] * 3
    assert any(ADDED_N[draw(step)].any() for step in range(7))
    without = [draw(step).tolist() for step in range(7)]
    assert without == [draw_rows(np.ones(30), PLAN, step).tolist() for step in range(7)], "no share: as ever"


def test_weights_hold_within_each_kind() -> None:
    weights = np.where(np.arange(30) % 2, 1.0, 0.0)
    rows = np.concatenate([batches(weights_N=weights, share=0.5)(step) for step in range(10)])
    assert (rows % 2 == 1).all()


@pytest.mark.parametrize("added_N", [np.zeros(30, dtype=bool), np.ones(30, dtype=bool)])
def test_a_pool_of_one_kind_is_drawn_as_ever(added_N: np.ndarray) -> None:
    draw = batches(added_N, share=0.5, finish_on_real=5)
    assert [draw(step).tolist() for step in range(10)] == [
        draw_rows(np.ones(30), PLAN, step).tolist() for step in range(10)
    ]
