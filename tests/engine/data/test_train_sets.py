"""Training sets: disjoint, whole lesions, every class in its share, the same whatever is used and in whatever order."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import TrainSetsConfig
from engine.data.table import make_table
from engine.data.train_sets import draw_train_sets
from engine.errors import DataError
from engine.types import LesionTable


def lesions(counts: dict[str, int], seed: int = 0) -> LesionTable:
    """So many lesions a class, each with one to three photographs."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"{dx}{i:03d}v{v}", dx, f"{dx}{i:03d}")
        for dx, n in counts.items()
        for i in range(n)
        for v in range(int(rng.integers(1, 4)))
    ]
    image, dx, lesion = zip(*rows, strict=True)
    return make_table("here", image, dx, lesion_id=lesion)


COUNTS = {"df": 12, "mel": 60, "nv": 240}


@given(st.integers(0, 2**31), st.integers(2, 6), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_sets_are_disjoint_stratified_and_the_same_in_any_order(seed: int, count: int, data: int) -> None:
    table = lesions(COUNTS, data)
    config = TrainSetsConfig(count=count, images=80)
    set_N = draw_train_sets(table, table.lesion_id, config, seed)
    for lesion in set(table.lesion_id):
        assert len(set(set_N[table.lesion_id == lesion])) == 1
    share = {dx: np.mean(table.dx == dx) for dx in COUNTS}
    for number in range(count):
        chosen = table.dx[set_N == number]
        assert abs(len(chosen) - 80) <= 4
        found = Counter(chosen.tolist())
        assert all(abs(found[dx] - 80 * share[dx]) <= 3 for dx in COUNTS)
        assert min(found.values()) >= 1
    order = np.random.default_rng(seed).permutation(len(table))
    shuffled = table.take(order)
    assert np.array_equal(draw_train_sets(shuffled, shuffled.lesion_id, config, seed), set_N[order])
    last = config.model_copy(update={"use": [count - 1]})
    assert np.array_equal(draw_train_sets(table, table.lesion_id, last, seed), set_N)


def test_images_outside_train_are_in_no_set() -> None:
    table = lesions(COUNTS)
    group_N = np.where(np.char.endswith(table.lesion_id, "7"), "", table.lesion_id)
    set_N = draw_train_sets(table, group_N, TrainSetsConfig(count=2, images=100), 0)
    assert (set_N[group_N == ""] == -1).all()
    assert Counter(set_N[group_N != ""].tolist())[-1] > 0, "what is left over is in none either"


def test_by_class_up_to_what_there_is() -> None:
    table = make_table(
        "here",
        [f"{dx}{i:02d}" for dx, n in (("df", 10), ("nv", 60)) for i in range(n)],
        ["df"] * 10 + ["nv"] * 60,
    )
    names = table.image_id
    set_N = draw_train_sets(table, names, TrainSetsConfig(count=2, images=20, per_class=True), 0)
    for number in (0, 1):
        assert Counter(table.dx[set_N == number].tolist()) == {"df": 5, "nv": 20}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            TrainSetsConfig(count=13, images=30),
            r"fewer than 13 groups.*of some: df 12$",
        ),
        (
            TrainSetsConfig(count=10, images=90),
            r"10 sets of 90 images cannot be made of the \d+ images in train",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(config: TrainSetsConfig, message: str) -> None:
    table = lesions(COUNTS)
    with pytest.raises(DataError, match=message):
        draw_train_sets(table, table.lesion_id, config, 0)


def test_one_set_may_be_named_without_a_list() -> None:
    assert TrainSetsConfig.model_validate({"use": 3}).use == [3]
