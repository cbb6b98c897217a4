"""A similarity is recovered from matches with outliers; what lies on a line has no spread."""

from __future__ import annotations

import numpy as np
import pytest

from engine.data.duplicates.verification import (
    LEAST_AGREEING,
    Points,
    fit_similarity,
    mutual_ratio_matches,
    spread,
    verify,
)


def points(place: np.ndarray, descriptor: np.ndarray, size: float = 5.0, angle: float = 0.3) -> Points:
    ones = np.ones(len(place), np.float32)
    unit = descriptor / np.linalg.norm(descriptor, axis=1, keepdims=True)
    return Points(
        place_K=place,
        size_K=size * ones,
        angle_K=np.float32(angle) * ones,
        descriptor_KD=unit.astype(np.float32),
    )


def scene(inliers: int, strangers: int, zoom: float, turn: float, shift: complex) -> tuple[Points, Points]:
    """Two images that share ``inliers`` keypoints 20 pixels apart and have ``strangers`` more with like descriptors."""
    rng = np.random.default_rng(3)
    place = (np.arange(inliers) % 5 + 1j * (np.arange(inliers) // 5)) * 20
    far = rng.uniform(0, 150, strangers) + 1j * rng.uniform(0, 150, strangers)
    other = rng.uniform(0, 150, strangers) + 1j * rng.uniform(0, 150, strangers)
    descriptor = rng.uniform(0, 1, (inliers + strangers, 128))
    first = points(np.concatenate([place, far]), descriptor)
    moved = np.concatenate([place * zoom * np.exp(1j * turn) + shift, other])
    return first, points(moved, descriptor, size=5.0 * zoom, angle=0.3 + turn)


@pytest.mark.parametrize(("zoom", "turn"), [(1.0, 0.0), (1.5, 0.4), (0.6, -3.0)])
def test_similarity_among_strangers(zoom: float, turn: float) -> None:
    found = verify(*scene(20, 40, zoom, turn, 12 - 7j))
    assert found is not None and 20 <= found.inliers <= 22
    assert found.zoom_turn == pytest.approx(zoom * np.exp(1j * turn), abs=0.02)
    assert found.shift == pytest.approx(12 - 7j, abs=1.5)


def test_strangers_alone_do_not_agree() -> None:
    found = verify(*scene(0, 60, 1.0, 0.0, 0j))
    assert found is None or found.inliers <= LEAST_AGREEING


def test_too_few_matches_and_too_large_zooms_are_refused() -> None:
    assert verify(*scene(LEAST_AGREEING - 1, 0, 1.0, 0.0, 0j)) is None
    assert verify(*scene(12, 0, 4.0, 0.0, 0j)) is None
    none = points(np.empty(0, complex), np.ones((0, 128)))
    assert verify(none, none) is None


def test_one_place_counts_once() -> None:
    first, _ = scene(20, 0, 1.0, 0.0, 0j)
    crowd = Points(
        place_K=(first.place_K / 1e4).astype(complex), size_K=first.size_K, angle_K=first.angle_K,
        descriptor_KD=first.descriptor_KD,
    )  # fmt: skip
    found = verify(crowd, crowd)
    assert found is not None and found.inliers == 1


def test_ratio_test_from_either_side() -> None:
    similarity = np.array([[0.9, 0.2, 0.1], [0.85, 0.84, 0.1]], np.float32)
    first, second, ratio = mutual_ratio_matches(similarity)
    found = set(zip(first.tolist(), second.tolist(), strict=True))
    assert found == {(0, 0), (1, 1), (0, 0)}, "row 1 is undecided, but column 1 is its own"
    assert ratio[0] == pytest.approx(np.sqrt(0.2 / 1.6)), (
        "the clearest first: sqrt((2 - 2 0.9) / (2 - 2 0.2))"
    )
    assert mutual_ratio_matches(similarity[:, :1])[0].size == 0


def test_least_squares_similarity() -> None:
    first = np.array([0, 1, 1j])
    assert fit_similarity(first, 2j * first + (3 + 4j)) == pytest.approx((2j, 3 + 4j))
    zoom_turn, shift = fit_similarity(np.array([5 + 5j, 5 + 5j]), np.array([1j, 1j]))
    assert np.isfinite(zoom_turn) and np.isfinite(shift)


def test_spread_is_that_across_the_line() -> None:
    line = np.arange(20) * (3 + 4j)
    assert spread(line) == pytest.approx(0, abs=1e-6)
    assert spread(np.concatenate([line, [45 + 20j, 10 + 50j]])) == pytest.approx(0, abs=1e-6), (
        "two by chance lie off it"
    )
    ring = 20 * np.exp(2j * np.pi * np.arange(12) / 12)
    assert 5 < spread(ring) < 20 / np.sqrt(2), "all of a ring have 20 / sqrt(2)"
    assert spread(np.array([0, 9])) == 0
