"""Candidates: turns form a group, a turned copy is among the nearest, images of one group are not paired."""

from __future__ import annotations

import numpy as np
import pytest

from engine.data.duplicates.candidates import (
    INVERSE,
    KEPT,
    TURNS,
    coarse_layout,
    find_candidates,
    turned,
    whitening,
)
from engine.types import strings
from tests.fakes import no_progress


def noise(count: int, side: int = 32) -> np.ndarray:
    rng = np.random.default_rng(3)
    return rng.uniform(0, 255, (count, side, side)).astype(np.float32)


def test_turns_are_eight_different_ways_and_each_is_undone_by_its_inverse() -> None:
    square = np.arange(9).reshape(3, 3)
    ways = [turned(square, turn) for turn in range(len(TURNS))]
    assert len({way.tobytes() for way in map(np.ascontiguousarray, ways)}) == 8
    for turn, way in enumerate(ways):
        assert np.array_equal(turned(way, int(INVERSE[turn])), square)
    assert ways[1].tolist() == [[2, 5, 8], [1, 4, 7], [0, 3, 6]]
    assert ways[4].tolist() == [[2, 1, 0], [5, 4, 3], [8, 7, 6]]


def test_the_layout_of_a_turned_image_is_the_turned_layout() -> None:
    images = noise(5, side=50)
    for turn in range(8):
        assert np.allclose(
            coarse_layout(np.ascontiguousarray(turned(images, turn))),
            turned(coarse_layout(images), turn),
            atol=1e-5,
        )


def test_the_projection_treats_all_turns_alike() -> None:
    layout = coarse_layout(noise(200))
    project = whitening(layout)
    for turn in range(1, 8):
        own = layout.reshape(200, -1) @ project
        other = np.ascontiguousarray(turned(layout, turn)).reshape(200, -1) @ project
        # at most the last components, cut from a group of equal ones, may differ
        assert np.allclose(np.linalg.norm(own, axis=1), np.linalg.norm(other, axis=1), rtol=0.1)


@pytest.mark.parametrize("turn", range(8))
def test_a_turned_copy_is_a_candidate_with_the_turn_that_undoes_it(turn: int) -> None:
    images = noise(60)
    images[40] = turned(images[11], turn)
    found = find_candidates(images, strings([str(i) for i in range(60)]), no_progress)
    at = (found.pairs_P2 == [11, 40]).all(axis=1) & (found.turn_P == INVERSE[turn])
    assert at.sum() == 1


def test_images_of_one_group_are_no_candidates_and_each_pair_stands_once_a_turn() -> None:
    images = noise(30)
    images[1] = images[0]
    group = strings(["a", "a", *(str(i) for i in range(28))])
    found = find_candidates(images, group, no_progress)
    assert not (found.pairs_P2 == [0, 1]).all(axis=1).any()
    assert (found.pairs_P2[:, 0] < found.pairs_P2[:, 1]).all()
    rows = np.column_stack([found.pairs_P2, found.turn_P])
    assert len(np.unique(rows, axis=0)) == len(rows) <= 30 * KEPT
