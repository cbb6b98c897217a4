"""Label savings and the worth of a label, on curves computed by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.study.labels import Amount, Curve, Gain, label_savings, label_worth, labels_needed, resampled

ASKED = np.array([0.0, 10.0, 20.0, 30.0])


def curve(arm: str, *replicates: Sequence[float], draws: Sequence[Sequence[float]] | None = None) -> Curve:
    """A curve whose draws are all its own values, or ``draws`` of its one replicate."""
    value_RP = np.array(replicates)
    drawn = np.repeat(value_RP[:, None], 4, axis=1) if draws is None else np.array([draws])
    return Curve(arm=arm, asked_P=ASKED[: value_RP.shape[1]], value_RP=value_RP, drawn_RBP=drawn)


def exactly(value: float) -> Amount:
    """An amount whose interval has no width."""
    about = pytest.approx(value)
    return Amount(value=about, low=about, high=about)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "reached", "needed"),
    [
        ([0.6, 0.7, 0.8, 0.9], 0.75, 15.0),
        ([0.6, 0.7, 0.8, 0.9], 0.9, 30.0),
        ([0.6, 0.7, 0.8, 0.9], 0.91, math.inf),
        ([0.6, 0.7, 0.8, 0.9], 0.6, 0.0),
        ([0.6, 0.7, 0.8, 0.9], 0.2, 0.0),
        ([0.6, 0.8, 0.7, 0.9], 0.75, 10.0),
        ([0.6, 0.8, 0.7, 0.9], 0.825, 25.0),
        ([0.6, 0.7, 0.7, 0.7], 0.7, 10.0),
        ([0.9, 0.7, 0.8, 0.6], 0.75, 0.0),
    ],
    ids=[
        "between points",
        "at the last",
        "beyond",
        "at the start",
        "below it",
        "a dip is pooled",
        "after the dip",
        "a flat stretch: its beginning",
        "a falling curve is flat",
    ],
)
def test_labels_that_a_curve_needs_to_reach_a_value(
    values: list[float], reached: float, needed: float
) -> None:
    assert labels_needed(ASKED, np.array(values), np.array([reached])) == pytest.approx([needed])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.5, 1.0), min_size=4, max_size=4), st.floats(0.5, 1.0), st.floats(0.0, 0.2))
def test_a_higher_value_never_needs_fewer_labels(values: list[float], reached: float, more: float) -> None:
    first, second = labels_needed(ASKED, np.array(values), np.array([reached, reached + more]))
    assert 0.0 <= first <= second + 1e-6


def test_savings_at_every_number_of_labels() -> None:
    random = curve("queried_random", [0.6, 0.7, 0.8, 0.9])
    query = curve("queried", [0.6, 0.75, 0.9, 0.95])
    ten, twenty, thirty = label_savings(query, random, crossed=True)
    assert (ten.labels, ten.reached, ten.needed) == (10.0, 0.75, exactly(15.0))
    assert ten.saved == exactly(1 / 3)
    assert twenty.needed == exactly(30.0) and twenty.saved == exactly(1 / 3)
    assert thirty.needed.value == thirty.needed.high == math.inf and thirty.most == 30.0
    assert thirty.saved == exactly(0.0), "at least none: random asking has had no more"


def test_the_interval_is_that_of_the_draws() -> None:
    flat = [0.6, 0.7, 0.8, 0.9]
    random = curve("queried_random", flat, draws=[flat] * 3)
    query = curve("queried", flat, draws=[[0.6, 0.65, 0.8, 0.9], flat, [0.6, 0.75, 0.8, 0.9]])
    found = label_savings(query, random, crossed=True)[0].needed
    assert found == Amount(value=pytest.approx(10.0), low=pytest.approx(5.0), high=pytest.approx(15.0))  # type: ignore[arg-type]


def test_a_share_is_not_told_where_random_asking_may_need_no_label() -> None:
    flat = [0.6, 0.7, 0.8, 0.9]
    random = curve("queried_random", flat, draws=[flat] * 2)
    query = curve("queried", [0.6, 0.65, 0.7, 0.8], draws=[[0.6, 0.55, 0.7, 0.8], [0.6, 0.7, 0.7, 0.8]])
    first, *_ = label_savings(query, random, crossed=True)
    assert first.needed.low == 0.0 and first.saved is None


def test_undefined_draws_are_left_out_and_undefined_curves_tell_nothing() -> None:
    flat = [0.6, 0.7, 0.8, 0.9]
    random = curve("queried_random", flat, draws=[flat, [math.nan, 0.1, 0.1, 0.1]])
    query = curve("queried", flat, draws=[flat, [0.9] * 4])
    assert label_savings(query, random, crossed=True)[0].needed == exactly(10.0)
    assert label_savings(query, curve("queried_random", [math.nan, 0.7, 0.8, 0.9]), crossed=True) == ()


def test_replicates_are_drawn_where_they_share_a_test_part_and_folds_are_not() -> None:
    curves = [curve("queried", [0.6, 0.6], [0.8, 0.9]), curve("queried_random", [0.6, 0.7], [0.8, 0.8])]
    crossed = resampled(curves, crossed=True, seed=3)
    assert {0.6, 0.7, 0.8} >= set(np.round(crossed[0][:, 0], 6)), "means of two of them"
    assert np.array_equal(crossed[0][:, 0], crossed[1][:, 0]), "the same replicates for both arms"
    folds = resampled(curves, crossed=False)
    assert folds[0].tolist() == [[pytest.approx(0.7), pytest.approx(0.75)]] * 4
    assert label_savings(*curves, crossed=False)[0].needed == exactly(10.0), "of the mean curves"


def gain(value: float, units: float, *drawn: float) -> Gain:
    return Gain(value=value, drawn_B=np.array(drawn or [value]), units=units)


def test_one_label_is_worth_so_many_images_at_equal_gain() -> None:
    found, why = label_worth(gain(0.04, 100.0, 0.02, 0.04, 0.06), gain(0.02, 400.0, 0.02, 0.02, 0.02))
    assert found == Amount(value=pytest.approx(8.0), low=pytest.approx(4.0), high=pytest.approx(12.0))  # type: ignore[arg-type]
    assert why == ""


@pytest.mark.parametrize(
    ("label", "image", "why"),
    [
        (gain(0.04, 100.0), gain(0.02, 400.0, -0.01, 0.02), "the interval of the gain by synthetic images"),
        (gain(0.04, 100.0), gain(-0.02, 400.0), "the interval of the gain by synthetic images"),
        (gain(0.04, 0.0), gain(0.02, 400.0), "no label was bought"),
        (gain(0.04, 100.0), gain(0.02, 0.0), "no synthetic image was accepted"),
        (gain(math.nan, 100.0), gain(0.02, 400.0), "undefined"),
    ],
)
def test_the_worth_is_not_told_where_the_denominator_may_be_nothing(
    label: Gain, image: Gain, why: str
) -> None:
    found, said = label_worth(label, image)
    assert found is None and why in said


def test_where_a_draws_images_lose_a_label_is_worth_more_than_any_number_of_them_not_less_than_none() -> None:
    label = gain(0.04, 1.0, *[0.001] * 2, *[0.04] * 98)
    found, _ = label_worth(label, gain(0.02, 1.0, *[0.02] * 98, *[-0.001] * 2))
    assert found == exactly(2.0), "two draws of a hundred lie beyond either end"


def test_parts_of_a_curve_have_to_fit() -> None:
    with pytest.raises(ValueError, match="queried: "):
        Curve(arm="queried", asked_P=ASKED, value_RP=np.zeros((1, 3)), drawn_RBP=np.zeros((1, 2, 4)))
