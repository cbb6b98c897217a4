"""The class a case is taken for, by hand, and its neighbours there."""

from __future__ import annotations

import numpy as np

from engine.retrieval.index import MISSING, Found
from engine.retrieval.other_class import taken_for, with_other
from engine.types import strings
from tests.engine.retrieval.test_conditioning import hood, small_index

SIMILARITY = {
    "mel": np.array([0.9, 0.5, 0.9, 0.1]),
    "nv": np.array([0.2, 0.8, 0.4, 0.7]),
    "vasc": np.array([0.3, 0.6, 0.4, -np.inf]),
}


def taken(own: list[str], predicted: list[str]) -> list[str]:
    found: list[str] = taken_for(strings(own), strings(predicted), SIMILARITY).tolist()
    return found


def test_a_wrong_prediction_is_the_other_class() -> None:
    assert taken(["mel"] * 4, ["nv", "vasc", "nv", "nv"]) == ["nv", "vasc", "nv", "nv"]


def test_else_the_nearest_other_class_is() -> None:
    assert taken(["mel"] * 4, ["mel", "mel", "mel", "mel"]) == ["vasc", "nv", "nv", "nv"]  # equal: by name
    assert taken(["nv"] * 4, [""] * 4) == ["mel", "vasc", "mel", "mel"]
    assert taken(["nv"] * 4, ["df", "df", "df", "vasc"]) == ["mel", "vasc", "mel", "mel"]  # none in train


def test_without_another_class_there_is_none() -> None:
    assert taken_for(strings(["mel"]), strings(["nv"]), {"mel": np.array([0.5])}).tolist() == [""]


def test_the_other_neighbours_join_the_own_ones() -> None:
    found = Found(
        image_id_MK=np.array([["c"], [""]]),
        similarity_MK=np.array([[0.25], [-np.inf]], dtype=np.float32),
        row_MK=np.array([[2], [MISSING]]),
    )
    own = hood()
    joined = with_other(own, found, small_index())
    assert joined.other_ids_MK is not None
    assert joined.other_ids_MK.tolist() == [["c"], [""]]
    np.testing.assert_array_equal(joined.other_levels_MKLD[:, 0], [[[0, 0, 1], [0, 0, 2]], np.zeros((2, 3))])
    np.testing.assert_array_equal(joined.neighbour_ids_MK, own.neighbour_ids_MK)
