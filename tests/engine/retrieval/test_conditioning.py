"""Conditioning records: ids, seeds, random parents, and the parquet columns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from engine.errors import StageError
from engine.retrieval.conditioning import (
    condition,
    draw_parents,
    neighbourhood,
    nothing,
    read_conditioning,
    write_conditioning,
    write_neighbours,
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
    return condition(mixture, hood(), round=3, source="hard", seed=11)


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
    assert made.seed_S.dtype == np.int64 and (made.seed_S > 0).all()


def test_conditioning_survives_the_disk(tmp_path):
    write_conditioning(mixed(), tmp_path)
    frame = pd.read_parquet(tmp_path / "conditioning.parquet")
    assert list(frame) == ["sample_id", "parent_image_id", "dx", "neighbour_ids", "weights", "seed"]
    assert [list(ids) for ids in frame["neighbour_ids"]] == [["x", "b"], ["x"], ["y", "c"]]
    assert [list(weights) for weights in frame["weights"]] == [[0.75, 0.25], [1.0], [0.5, 0.5]]
    back = read_conditioning(tmp_path)
    for name in ("sample_id", "label_S", "parent_image_id", "neighbour_ids_SK", "weights_SK", "seed_S"):
        np.testing.assert_array_equal(getattr(back, name), getattr(mixed(), name))
    assert back.levels_SLD.dtype == np.float32
    np.testing.assert_array_equal(back.levels_SLD, mixed().levels_SLD)


def test_nothing_has_the_columns_and_shapes_of_something(tmp_path):
    write_conditioning(nothing(5, 96), tmp_path)
    full = tmp_path / "full"
    full.mkdir()
    write_conditioning(mixed(), full)
    empty, some = (pd.read_parquet(folder / "conditioning.parquet") for folder in (tmp_path, full))
    assert list(empty) == list(some) and len(empty) == 0
    assert (empty.dtypes == some.dtypes).all()
    back = read_conditioning(tmp_path)
    assert len(back) == 0 and back.levels_SLD.shape == (0, 5, 96)


def test_neighbours_are_written_as_far_as_they_exist(tmp_path):
    found = Found(
        image_id_MK=np.array([["b", ""], ["", ""]]),
        similarity_MK=np.array([[0.5, -np.inf], [-np.inf, -np.inf]], dtype=np.float32),
        row_MK=np.array([[1, MISSING], [MISSING, MISSING]]),
    )
    write_neighbours(strings(["x", "y"]), strings(["mel", "df"]), found, tmp_path)
    frame = pd.read_parquet(tmp_path / "neighbours.parquet")
    assert frame["image_id"].tolist() == ["x", "y"] and frame["dx"].tolist() == ["mel", "df"]
    assert [list(ids) for ids in frame["neighbour_ids"]] == [["b"], []]
    assert [list(similarity) for similarity in frame["similarity"]] == [[0.5], []]


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
