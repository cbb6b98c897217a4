"""Kappas against published figures, scikit-learn and statsmodels; intervals draw what belongs together."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats import inter_rater

from engine.labelling.agreement import cohen, fleiss, pairs, several

RATED = st.integers(2, 5).flatmap(
    lambda readers: st.lists(
        st.lists(st.integers(0, 3), min_size=readers, max_size=readers), min_size=2, max_size=12
    )
)
"""Classes 0 to 3 that readers give images: a list of images, each a list of its readers' classes."""


def counts(rated: list[list[int]]) -> np.ndarray:
    return np.array([np.bincount(given, minlength=4) for given in rated], dtype=np.float64)


def one_hot(given: list[int]) -> np.ndarray:
    return np.eye(4)[given]


def test_a_worked_example() -> None:
    """14 readers, 10 subjects, 5 classes; the kappa of Wikipedia's page on it is 0.210."""
    table = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss(np.array(table, dtype=np.float64)) == pytest.approx([0.210], abs=5e-4)


@settings(max_examples=60, deadline=None)
@given(RATED)
def test_fleiss_as_statsmodels_has_it(rated: list[list[int]]) -> None:
    ours = float(fleiss(counts(rated))[0])
    if len({dx for given in rated for dx in given}) == 1:
        assert math.isnan(ours)
    else:
        assert ours == pytest.approx(inter_rater.fleiss_kappa(counts(rated)), abs=1e-9)


def test_images_of_two_and_of_three_readers_count_alike() -> None:
    """By hand: P = (1 + 1/3) / 2 = 2/3; shares of a: (1 + 1/3) / 2 = 2/3, of b 1/3; P_e = 5/9; kappa = (1/9) / (4/9)."""
    assert fleiss(np.array([[2.0, 0.0], [1.0, 2.0]])) == pytest.approx([0.25])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 4)), min_size=2, max_size=12))
def test_weighted_kappas_are_those_of_repeated_images(rated: list[tuple[int, int, int]]) -> None:
    first, second, often = (list(column) for column in zip(*rated, strict=True))
    weights = np.array([often], dtype=np.float64)
    repeated = [pair for *pair, n in rated for _ in range(n)]
    ours = float(cohen(one_hot(first), one_hot(second), weights)[0])
    if len({*first, *second}) == 1:
        assert math.isnan(ours)
        return
    assert ours == pytest.approx(cohen_kappa_score(*zip(*repeated, strict=True)), abs=1e-9)
    assert fleiss(counts([[a, b] for a, b, _ in rated]), weights) == pytest.approx(fleiss(counts(repeated)))


def test_each_pair_and_all() -> None:
    said = {
        "1": {"ann": "mel", "bob": "mel", "cy": "mel"},
        "2": {"ann": "mel", "bob": "nv"},
        "3": {"ann": "nv", "bob": "nv", "cy": "mel"},
        "4": {"ann": "nv", "bob": "nv"},
        "5": {"cy": "nv"},
    }
    ann_bob, ann_cy, bob_cy = pairs(said, {})
    assert (ann_bob.readers, ann_bob.images, ann_bob.share) == (("ann", "bob"), 4, 0.75)
    assert ann_bob.kappa["value"] == pytest.approx(0.5)  # (3/4 - 1/2) / (1 - 1/2)
    assert (ann_cy.readers, ann_cy.images, ann_cy.share) == (("ann", "cy"), 2, 0.5)
    assert ann_cy.kappa["value"] == pytest.approx(0.0)
    assert bob_cy.readers == ("bob", "cy")
    together = several(said, {})
    assert together is not None
    assert (together.readers, together.images) == (("ann", "bob", "cy"), 4)
    assert together.share == pytest.approx((1 + 0 + 1 / 3 + 1) / 4)
    # p_mel = (1 + 1/2 + 1/3 + 0) / 4 = 11/24, P_e = (11² + 13²) / 24²
    chance = (11**2 + 13**2) / 24**2
    assert together.kappa["value"] == pytest.approx((7 / 12 - chance) / (1 - chance))


def test_nobody_in_common_and_one_class_alone() -> None:
    assert pairs({"1": {"ann": "mel"}, "2": {"bob": "mel"}}, {}) == ()
    assert several({"1": {"ann": "mel"}, "2": {}}, {}) is None
    (pair,) = pairs({"1": {"ann": "mel", "bob": "mel"}}, {})
    assert pair.share == 1.0
    assert pair.kappa == {"value": None, "low": None, "high": None}


def test_images_that_belong_together_are_drawn_together() -> None:
    """40 answers are 40 pieces of evidence where each image stands alone, and 4 where they are 4 lesions."""
    rng = np.random.default_rng(0)
    said, lesion = {}, {}
    for number in range(40):
        image = f"{number:02d}"
        agrees = number % 4 != 3
        first = ("mel", "nv")[int(rng.integers(2))]
        said[image] = {"ann": first, "bob": first if agrees else {"mel": "nv", "nv": "mel"}[first]}
        lesion[image] = str(number % 4)
    alone, together = (pairs(said, group)[0].kappa for group in ({}, lesion))
    assert alone["value"] == together["value"] == pytest.approx(0.5, abs=0.05)
    widths = [float(found["high"] or 0) - float(found["low"] or 0) for found in (alone, together)]
    assert 0.3 < widths[0] < 0.7 < widths[1]
    assert pairs(said, lesion) == pairs(said, lesion), "seeded"
