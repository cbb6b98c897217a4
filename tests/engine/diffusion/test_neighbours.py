"""Same-class neighbours from other lesions, by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.diffusion import neighbours
from engine.diffusion.neighbours import same_class_neighbours

ANGLES = np.deg2rad([0, 5, 10, 40, 3, 90])
FUSED = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1).astype(np.float32)
LABEL = np.array([0, 0, 0, 0, 1, 2])
LESION = np.array(["a", "a", "b", "c", "d", "e"])


def test_nearest_first_never_own_lesion_never_another_class():
    found = same_class_neighbours(FUSED, LABEL, LESION, count=2)
    assert found[0].tolist() == [2, 3]  # 1 is the same lesion, 4 another class
    assert found[3].tolist() == [2, 1]


def test_too_few_neighbours_repeat_the_last_and_none_is_oneself():
    found = same_class_neighbours(FUSED, LABEL, LESION, count=3)
    assert found[0].tolist() == [2, 3, 3]
    assert found[4].tolist() == [4, 4, 4]
    assert found.dtype == np.int64


def test_ties_go_by_position():
    same = np.ones((4, 1), dtype=np.float32)
    found = same_class_neighbours(same, np.zeros(4, dtype=np.int64), np.array(["a", "b", "c", "d"]), count=2)
    assert found.tolist() == [[1, 2], [0, 2], [0, 1], [0, 1]]


def plain(fused_NF, label_N, lesion_id_N, count):
    """A stable sort of each image's whole row of similarities, in blocks of the same size."""
    result = np.repeat(np.arange(len(label_N))[:, None], count, axis=1)
    for label in np.unique(label_N):
        members = np.flatnonzero(label_N == label)
        similarity = fused_NF[members] @ fused_NF[members].T
        similarity[lesion_id_N[members][:, None] == lesion_id_N[members]] = -np.inf
        for row, member in enumerate(members):
            order = np.argsort(-similarity[row], kind="stable")[:count]
            found = members[order[np.isfinite(similarity[row][order])]]
            if len(found):
                result[member] = np.concatenate([found, np.repeat(found[-1:], count - len(found))])
    return result


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    images=st.integers(1, 400),
    lesions=st.integers(1, 400),
    classes=st.integers(1, 4),
    levels=st.sampled_from([1, 0]),
    count=st.integers(1, 6),
)
def test_the_neighbours_are_those_of_a_whole_sort(seed, images, lesions, classes, levels, count):
    """With one level per coordinate most images tie; with none the coordinates are normal."""
    rng = np.random.default_rng(seed)
    size = (images, 4)
    rows = (rng.integers(-levels, levels + 1, size=size) if levels else rng.normal(size=size)).astype(
        np.float32
    )
    label, lesion = rng.integers(0, classes, size=images), rng.integers(0, lesions, size=images).astype(str)
    np.testing.assert_array_equal(
        same_class_neighbours(rows, label, lesion, count), plain(rows, label, lesion, count)
    )


@pytest.mark.parametrize("products", [1, 10_000])
def test_smaller_blocks_find_the_same(products, monkeypatch):
    """Whole numbers: their sums are exact in blocks of any size."""
    rng = np.random.default_rng(0)
    rows = rng.integers(-3, 4, size=(700, 8)).astype(np.float32)
    label, lesion = rng.integers(0, 2, size=700), rng.integers(0, 500, size=700).astype(str)
    whole = same_class_neighbours(rows, label, lesion)
    monkeypatch.setattr(neighbours, "PRODUCTS", products)
    np.testing.assert_array_equal(same_class_neighbours(rows, label, lesion), whole)
