"""Groups of several classes: rare classes first, then the nearest assignment in which no bin lacks a class."""

from __future__ import annotations

import numpy as np
import pytest

from engine.training.stratify import UNDEALT, class_counts, cover, deal_mixed, settle, still_wanted

TWO, RNG = np.array([True, True]), np.random.default_rng


def test_counts_are_by_rising_group_and_class() -> None:
    names, classes, count_GC = class_counts(
        np.array(["b", "a", "b", "b"]), np.array(["nv", "nv", "mel", "nv"])
    )
    assert (names.tolist(), classes.tolist()) == (["a", "b"], ["mel", "nv"])
    assert count_GC.tolist() == [[0, 1], [1, 2]]
    assert class_counts(np.array(["a"]), np.array(["nv"]), ("df", "nv"))[2].tolist() == [[0, 1]]


def test_the_rare_class_is_dealt_first_and_groups_of_one_class_are_left() -> None:
    """Two melanoma groups among four of nevi: one to each of two bins, whatever the order."""
    holds_GC = np.array([[1, 1, 0], [0, 1, 1], [0, 1, 1], [1, 1, 0], [0, 1, 0]]) > 0
    target_BC = np.tile(holds_GC.sum(axis=0) / 2, (2, 1))
    for seed in range(5):
        bin_G = deal_mixed(holds_GC, target_BC, TWO, RNG(seed))
        assert {bin_G[0], bin_G[3]} == {bin_G[1], bin_G[2]} == {0, 1}
        assert bin_G[4] == UNDEALT


def test_a_bin_that_lacks_the_class_goes_before_one_that_wants_more() -> None:
    holds_GC = np.ones((4, 2), dtype=np.bool_)
    target_BC = np.array([[3.0, 3.0], [1.0, 1.0]])
    assert sorted(deal_mixed(holds_GC, target_BC, TWO, RNG(0))) == [0, 0, 0, 1]
    rest = np.array([True, False])
    assert sorted(deal_mixed(holds_GC, np.array([[1.0, 1.0], [3.0, 3.0]]), rest, RNG(0))) == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("target", "given", "count", "expected"),
    [
        ([3, 1, 1, 1], [0, 0, 0, 0], 6, [3, 1, 1, 1]),
        ([3, 1, 1, 1], [1, 1, 0, 0], 4, [2, 0, 1, 1]),
        ([3, 1, 1, 1], [0, 3, 0, 0], 3, [1, 0, 1, 1]),
        ([3, 1, 1, 1], [0, 4, 0, 0], 2, [0, 0, 1, 1]),
    ],
)
def test_further_groups_go_where_something_is_lacking(
    target: list[int], given: list[int], count: int, expected: list[int]
) -> None:
    wanted = still_wanted(np.array(target), np.array(given), np.ones(4, dtype=np.bool_), count)
    assert wanted.sum() == count
    assert wanted.tolist() == expected


def test_cover_moves_as_few_groups_as_it_can() -> None:
    """Class 1 lies in bin 0 alone; one move mends it. Nothing moves where nothing is lacking."""
    holds_GC = np.array([[1, 1], [1, 1], [1, 0], [1, 0]]) > 0
    covered = cover(np.array([0, 0, 1, 1]), holds_GC, TWO)
    assert covered is not None
    assert (covered != [0, 0, 1, 1]).sum() == 1 and set(covered[:2]) == {0, 1}
    good = np.array([0, 1, 0, 1])
    assert cover(good, holds_GC, TWO) is good


def test_cover_needs_an_exchange_where_one_move_would_uncover_another_class() -> None:
    """Classes 0 and 1 in two groups each, together in bin 0 and in bin 1."""
    holds_GC = np.array([[1, 0], [1, 0], [0, 1], [0, 1]]) > 0
    covered = cover(np.array([0, 0, 1, 1]), holds_GC, TWO)
    assert covered is not None
    assert set(covered[:2]) == set(covered[2:]) == {0, 1}


def test_cover_tells_where_there_is_no_way() -> None:
    """Three groups, three classes, each class in two of them: two of the three share a bin."""
    triangle = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]]) > 0
    assert cover(np.array([0, 1, 1]), triangle, TWO) is None


def test_cover_parts_a_class_that_is_too_rare_for_every_bin() -> None:
    holds_GC = np.array([[1, 1], [1, 1], [0, 1], [0, 1]]) > 0
    covered = cover(np.array([0, 0, 1, 2]), holds_GC, np.ones(3, dtype=np.bool_))
    assert covered is not None
    assert covered[0] != covered[1] and set(covered) == {0, 1, 2}


def test_settle_evens_out_images_and_keeps_the_last_of_a_class() -> None:
    """Bin 0 has 9 of 12 images, each bin should have 6: the group of three goes; that of class 2 stays."""
    weight_GC = np.array([[2, 1, 0], [2, 1, 0], [1, 1, 1], [2, 1, 0]])
    target_BC = np.tile(weight_GC.sum(axis=0) / 2, (2, 1))
    settled = settle(np.array([0, 0, 0, 1]), weight_GC, target_BC, TWO)
    assert settled[2] == 0
    assert sorted(np.bincount(settled).tolist()) == [2, 2]
    alone = np.array([[3, 0], [0, 3]])
    assert settle(np.array([0, 0]), alone, np.full((2, 2), 1.5), TWO).tolist() == [0, 0]
