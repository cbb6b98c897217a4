"""Conditioning records: ids, seeds, random parents."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import StageError
from engine.retrieval.conditioning import (
    condition,
    draw_parents,
    neighbourhood,
    nothing,
)
from engine.retrieval.index import MISSING, Found, LesionIndex
from engine.training.plan import derive_seed
from engine.types import Conditioning, Mixture, Neighbourhood, strings


def small_index() -> LesionIndex:
    rows = np.eye(3, dtype=np.float32)
    return LesionIndex(
        image_id=strings(["a", "b", "c"]),
        lesion_id=strings(["L1", "L2", "L3"]),
        dx=strings(["mel", "mel", "nv"]),
        fused_NF=rows,
        levels_NLD=np.stack([rows, 2 * rows], axis=1),
    )


def hood() -> Neighbourhood:
    found = Found(
        image_id_MK=np.array([["b", ""], ["c", "a"]]),
        similarity_MK=np.array([[0.5, -np.inf], [0.3, 0.2]], dtype=np.float32),
        row_MK=np.array([[1, MISSING], [2, 0]]),
    )
    return neighbourhood(
        strings(["x", "y"]),
        strings(["mel", "nv"]),
        np.ones((2, 2, 3), dtype=np.float32),
        found,
        small_index(),
    )


def mixed() -> Conditioning:
    mixture = Mixture(
        levels_SLD=np.arange(18.0).reshape(3, 2, 3),
        parent_image_id=strings(["x", "x", "y"]),
        neighbour_ids_SK=np.array([["x", "b"], ["x", ""], ["y", "c"]]),
        weights_SK=np.array([[0.75, 0.25], [1.0, 0.0], [0.5, 0.5]]),
    )
    return condition(mixture, hood(), np.array([1.0, 0.0]), round=3, source="hard", seed=11)


def test_neighbourhood_joins_embeddings_and_zeroes_the_missing():
    joined = hood()
    np.testing.assert_array_equal(joined.neighbour_levels_MKLD[0, 0], [[0, 1, 0], [0, 2, 0]])
    np.testing.assert_array_equal(joined.neighbour_levels_MKLD[0, 1], np.zeros((2, 3)))
    np.testing.assert_array_equal(joined.neighbour_levels_MKLD[1, 1], [[1, 0, 0], [2, 0, 0]])


def test_samples_get_ids_their_parents_class_and_seeds_of_their_own():
    made = mixed()
    assert made.sample_id.tolist() == ["r03_hard_00000", "r03_hard_00001", "r03_hard_00002"]
    assert made.label_S.tolist() == ["mel", "mel", "nv"]
    assert made.seed_S.tolist() == [derive_seed(11, "sample", 3, "hard", index) for index in range(3)]
    assert made.difficulty_S.tolist() == [1.0, 1.0, 0.0], "a sample is as hard as its parent"
    assert made.seed_S.dtype == np.int64 and (made.seed_S > 0).all()


def test_nothing_has_the_shapes_of_something():
    none = nothing(5, 96)
    assert len(none) == 0 and none.levels_SLD.shape == (0, 5, 96)
    assert none.neighbour_ids_SK.shape == none.weights_SK.shape == (0, 1)


IDS, DX = strings(["a", "b", "c", "d"]), strings(["mel", "nv", "mel", "mel"])


@pytest.mark.parametrize(
    ("counts", "mel_times", "nv_times"),
    [
        ({"mel": 3, "nv": 0}, [1, 1, 1], 0),
        ({"mel": 7, "nv": 2}, [2, 2, 3], 2),
        ({"mel": 0}, [0, 0, 0], 0),
        ({}, [0, 0, 0], 0),
        ({"vasc": 0, "mel": 2}, [0, 1, 1], 0),
    ],
)
def test_random_parents_meet_the_counts_and_repeat_only_after_all_were_drawn(counts, mel_times, nv_times):
    parents, times = draw_parents(IDS, DX, counts, np.random.default_rng(0))
    drawn = dict(zip(parents.tolist(), times.tolist(), strict=True))
    assert sorted(drawn.get(row, 0) for row in (0, 2, 3)) == mel_times
    assert drawn.get(1, 0) == nv_times
    assert parents.tolist() == sorted(parents.tolist()) and (times > 0).all()


def test_every_image_of_a_class_can_become_a_random_parent():
    rng = np.random.default_rng(0)
    first = [int(draw_parents(IDS, DX, {"mel": 1}, rng)[0][0]) for _ in range(300)]
    for row in (0, 2, 3):
        assert 70 < first.count(row) < 130


def test_random_parents_of_a_class_without_images_are_refused():
    with pytest.raises(StageError, match=r"counts\.vasc: 4 random parents"):
        draw_parents(IDS, DX, {"vasc": 4}, np.random.default_rng(0))
