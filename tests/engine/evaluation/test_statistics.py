"""Lesion-clustered intervals and the sign-flip test."""

from __future__ import annotations

import numpy as np
import pytest

from engine.evaluation.statistics import group_weights, interval, paired_p_value


def test_group_weights_are_multinomial_rows() -> None:
    weights = group_weights(7, 4000, np.random.default_rng(0))
    np.testing.assert_array_equal(weights.sum(axis=1), 7.0)
    np.testing.assert_allclose(weights.mean(axis=0), 1.0, atol=0.08)
    np.testing.assert_allclose(weights.var(axis=0), 6 / 7, atol=0.1)  # n p (1 - p)


def test_no_lesions_give_empty_draws() -> None:
    assert group_weights(0, 3, np.random.default_rng(0)).shape == (3, 0)


def test_interval_is_the_central_95_percent() -> None:
    figure = interval(0.5, np.arange(1001) / 1000)
    assert figure == {"value": 0.5, "low": pytest.approx(0.025), "high": pytest.approx(0.975)}


def test_interval_leaves_undefined_draws_out() -> None:
    figure = interval(0.5, np.array([np.nan, 0.4, np.nan, 0.6]))
    assert figure["low"] == pytest.approx(0.405) and figure["high"] == pytest.approx(0.595)


@pytest.mark.parametrize("value", [0.1, 0.9])
def test_interval_is_extended_to_hold_the_value(value: float) -> None:
    figure = interval(value, np.array([0.4, 0.5, 0.6]))
    assert figure["low"] <= value <= figure["high"]
    assert value in (figure["low"], figure["high"])


def test_undefined_value_is_null() -> None:
    assert interval(float("nan"), np.array([0.5])) == {"value": None, "low": None, "high": None}


def test_value_without_any_defined_draw_stands_alone() -> None:
    assert interval(0.3, np.array([np.nan])) == {"value": 0.3, "low": 0.3, "high": 0.3}


def test_bootstrap_of_a_proportion_has_the_binomial_width() -> None:
    # 400 lesions, half right: standard error sqrt(0.25 / 400) = 0.025.
    right = np.arange(400) % 2 == 0
    weights = group_weights(400, 4000, np.random.default_rng(1))
    figure = interval(0.5, weights @ right / 400)
    assert figure["high"] - figure["low"] == pytest.approx(2 * 1.96 * 0.025, rel=0.06)


def p_value(differences: list[int], lesions: list[str] | None = None, **kwargs: int) -> float | None:
    """p for images on which the classifier gained (1), lost (-1) or neither (0)."""
    change = np.array(differences)
    names = np.array(lesions if lesions is not None else [f"L{i}" for i in range(len(change))], dtype=np.str_)
    return paired_p_value(change >= 0, change <= 0, names, np.random.default_rng(0), **kwargs)


def test_p_value_of_few_lesions_by_hand() -> None:
    # both right at 0, so the differences are 1 - 0 and 0; three gains: P(|sum| = 3) = 2 / 8.
    change = p_value([1, 1, 1], draws=40_000)
    assert change == pytest.approx(0.25, abs=0.01)


def test_p_value_is_one_without_a_difference() -> None:
    assert p_value([0, 0, 0]) == 1.0


def test_smallest_p_value_is_one_over_draws_plus_one() -> None:
    assert p_value([1] * 60, draws=999) == pytest.approx(1 / 1000)


def test_photographs_of_one_lesion_count_once() -> None:
    many = p_value([1] * 30, ["a"] * 10 + ["b"] * 10 + ["c"] * 10, draws=20_000)
    assert many == pytest.approx(0.25, abs=0.02)


def test_p_value_is_seeded_and_two_sided() -> None:
    gains, losses = [1, 1, 1, 1, -1, 0], [-1, -1, -1, -1, 1, 0]
    assert p_value(gains) == p_value(gains) == p_value(losses)


def test_p_value_of_no_images_is_null() -> None:
    assert p_value([]) is None


def null_lesions(rng: np.random.Generator, lesions: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lesion of each photograph (one to three each), and whether two equally good classifiers get it right.

    Either knows 60 % of lesions and gets 90 % of the photographs of a lesion it knows right, 10 % of the others: a
    lesion's photographs succeed or fail together.
    """
    lesion_N = np.repeat(np.arange(lesions), rng.integers(1, 4, lesions))
    knows = rng.random((2, lesions)) < 0.6
    now_N, before_N = knows[:, lesion_N] == (rng.random((2, len(lesion_N))) < 0.9)
    return lesion_N, now_N, before_N


def test_the_exact_test_holds_its_level_on_clustered_lesions() -> None:
    """At most 7 % of 1,500 null studies are rejected at 5 %; taking photographs for independent rejects twice as many."""
    rng = np.random.default_rng(2)
    by_lesion, by_photograph = [], []
    for _ in range(1500):
        lesion_N, now_N, before_N = null_lesions(rng, 60)
        by_lesion.append(paired_p_value(now_N, before_N, lesion_N.astype(np.str_), rng, draws=200))
        alone_N = np.arange(len(lesion_N)).astype(np.str_)
        by_photograph.append(paired_p_value(now_N, before_N, alone_N, rng, draws=200))
    assert 0.03 <= np.mean(np.array(by_lesion) <= 0.05) <= 0.07
    assert np.mean(np.array(by_photograph) <= 0.05) > 0.1
