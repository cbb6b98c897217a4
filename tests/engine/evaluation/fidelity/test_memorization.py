"""Nearest-train distances against hand-computed angles."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import StageError
from engine.evaluation.fidelity import memorization
from engine.evaluation.fidelity.memorization import (
    nearest,
    nearest_other_lesion,
    nearest_other_lesion_quantiles,
)


def on_circle(*degrees: float) -> np.ndarray:
    angle = np.deg2rad(np.array(degrees))
    return np.column_stack([np.cos(angle), np.sin(angle)])


def test_nearest_is_one_minus_the_cosine_of_the_angle() -> None:
    distance, index = nearest(on_circle(10, 100, 180), on_circle(0, 70, 270))
    np.testing.assert_allclose(
        distance, 1 - np.cos(np.deg2rad([10, 30, 90])), atol=1e-12
    )  # 180 lies 90 degrees from 270
    np.testing.assert_array_equal(index, [0, 1, 2])


def test_a_copy_has_distance_zero_and_the_opposite_two() -> None:
    distance, index = nearest(on_circle(37, 217), on_circle(37))
    np.testing.assert_allclose(distance, [0.0, 2.0], atol=1e-12)
    assert (distance >= 0).all() and (distance <= 2).all()
    np.testing.assert_array_equal(index, [0, 0])


def test_ties_name_the_first_row() -> None:
    assert nearest(on_circle(0), on_circle(30, -30, 30))[1][0] == 0


def test_blocks_agree_with_one_product(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(23, 5)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    monkeypatch.setattr(memorization, "_BLOCK", 4)
    distance, index = nearest(rows[:10], rows[10:])
    full = 1 - rows[:10].astype(np.float64) @ rows[10:].astype(np.float64).T
    np.testing.assert_allclose(distance, full.min(axis=1), atol=1e-12)
    np.testing.assert_array_equal(index, full.argmin(axis=1))


def test_no_samples_give_empty_arrays() -> None:
    distance, index = nearest(np.zeros((0, 2)), on_circle(0))
    assert distance.shape == index.shape == (0,)


@pytest.mark.parametrize(
    ("samples", "train", "message"),
    [
        (np.ones((1, 2)), on_circle(0), "samples must have length 1; found 1.414"),
        (on_circle(0), 2 * on_circle(0), "train must have length 1; found 2"),
        (np.ones((1, 3)), on_circle(0), "of one width"),
        (on_circle(0), np.zeros((0, 2)), "no train features"),
    ],
)
def test_bad_features_are_refused(samples: np.ndarray, train: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        nearest(samples, train)


def test_other_lesion_skips_views_of_the_own() -> None:
    # lesion a is photographed at 0 and 1 degrees; its nearest other lesion is b at 60, b's is a at 1.
    rows, lesion = on_circle(0, 1, 60), np.array(["a", "a", "b"])
    distance = nearest_other_lesion(rows, lesion)
    np.testing.assert_allclose(distance, 1 - np.cos(np.deg2rad([60, 59, 59])), atol=1e-12)


def test_quantiles_are_numpys_percentiles() -> None:
    rows, lesion = on_circle(0, 1, 60, 100), np.array(["a", "a", "b", "c"])
    quantiles = nearest_other_lesion_quantiles(rows, lesion, (0, 50, 100))
    near = np.sort(1 - np.cos(np.deg2rad([60, 59, 40, 40])))
    assert list(quantiles) == [0, 50, 100]
    np.testing.assert_allclose(
        list(quantiles.values()), [near[0], (near[1] + near[2]) / 2, near[3]], atol=1e-12
    )
    assert tuple(nearest_other_lesion_quantiles(rows, lesion)) == (1, 5, 25, 50, 75, 95, 99)


def test_one_lesion_cannot_be_compared() -> None:
    with pytest.raises(StageError, match="2 image\\(s\\) of one lesion"):
        nearest_other_lesion_quantiles(on_circle(0, 10), np.array(["a", "a"]))


def test_lesion_ids_must_match_the_rows() -> None:
    with pytest.raises(ValueError, match="3 entries for 2"):
        nearest_other_lesion(on_circle(0, 10), np.array(["a", "b", "c"]))
