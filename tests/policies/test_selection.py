"""Selections computed by hand, and the properties every selection policy has."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.types import SelectionState
from policies import registry
from policies.selection import (
    ClassifierLoss,
    Disagreement,
    Entropy,
    Random,
    share_out,
)
from policies.stochastic import standardised
from tests.policies.candidates import CLASSES, candidates, chosen, kept

PROB = np.array([[0.8, 0.1, 0.1], [0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [1.0, 0.0, 0.0]])


def test_disagreement_by_hand() -> None:
    judge = np.array([[0.8, 0.1, 0.1], [0.25, 0.5, 0.25], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    state = candidates([0, 0, 0, 0], total=2, judge_prob_SC=judge, classifier_prob_SC=PROB)
    selection = chosen(Disagreement(), state)
    # equal: 0; 1/4 log(1/2) + 1/2 log 2 = 1/4 log 2; log(1 / 0.1); the classifier's 0 counts as 1e-12
    expected = [0.0, math.log(2) / 4, math.log(10), -math.log(1e-12)]
    assert selection.value_S == pytest.approx(expected, abs=1e-9)
    assert selection.keep_S.tolist() == [False, False, True, True]


def test_entropy_by_hand() -> None:
    state = candidates([0, 1, 2, 0], total=2, classifier_prob_SC=PROB)
    selection = chosen(Entropy(stratified=False), state)
    third = -(0.8 * math.log(0.8) + 0.2 * math.log(0.1)) / math.log(3)
    assert selection.value_S == pytest.approx([third, 1.5 * math.log(2) / math.log(3), third, 0.0])
    assert selection.keep_S.tolist() == [
        True,
        True,
        False,
        False,
    ]  # s000 and s002 are equal: the earlier name


def test_classifier_loss_takes_the_label_that_would_train() -> None:
    soft = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
    state = candidates([0, 0, 0, 2], total=2, classifier_prob_SC=PROB, target_SC=soft)
    selection = chosen(ClassifierLoss(stratified=False), state)
    expected = [-math.log(0.8), 1.5 * math.log(2), math.log(10), -math.log(1e-12)]
    assert selection.value_S == pytest.approx(expected)
    assert selection.keep_S.tolist() == [False, False, True, True]


def test_only_passed_candidates_are_kept_and_too_few_are_all_kept() -> None:
    state = candidates([0, 0, 1, 2], passed=[True, False, True, False], total=3)
    for name in registry.names("selection"):
        selection = chosen(registry.make("selection", {"name": name}), state)
        assert selection.keep_S.tolist() == [True, False, True, False]


def test_each_class_keeps_its_share_of_what_was_generated() -> None:
    labels = [0] * 6 + [1] * 3 + [2] * 3
    assert Counter(state_classes(candidates(labels, total=4))) == {0: 2, 1: 1, 2: 1}
    told = candidates(labels, total=4, generated={"bkl": 10, "mel": 10, "nv": 20})
    assert Counter(state_classes(told)) == {0: 1, 1: 1, 2: 2}
    few = [True] * 6 + [False, False, True] + [True] * 3
    lacking = candidates(labels, total=6, passed=few, generated={"bkl": 10, "mel": 20, "nv": 10})
    assert Counter(state_classes(lacking)) == {
        0: 3,
        1: 1,
        2: 2,
    }  # mel can fill 1 of 3; 5 are halved, nv after bkl


def state_classes(state: SelectionState) -> list[int]:
    return [int(label) for label in state.label_S[chosen(Random(), state).keep_S]]


def test_without_strata_the_best_are_kept_whatever_their_class() -> None:
    sure = np.array([[0.98, 0.01, 0.01]] * 3 + [[0.4, 0.3, 0.3]] * 3)
    state = candidates([0, 0, 0, 1, 1, 1], total=3, classifier_prob_SC=sure)
    assert kept(Entropy(stratified=False), state) == ["s003", "s004", "s005"]
    assert kept(Entropy(), state) == ["s000", "s001", "s003"]  # 1.5 : 1.5, bkl is before mel


@pytest.mark.parametrize(
    ("total", "weights", "most", "shares"),
    [
        (10, [1, 1], [20, 20], [5, 5]),
        (5, [1, 1], [20, 20], [3, 2]),  # equal fractions and weights: by name
        (5, [3, 1], [20, 20], [4, 1]),  # 3.75 : 1.25
        (2, [2, 1, 1], [9, 9, 9], [1, 1, 0]),  # 1 : 0.5 : 0.5
        (10, [1, 1, 2], [1, 20, 20], [1, 3, 6]),  # a gives 1.5 of 2.5 away, 9 are divided 1 : 2
        (10, [8, 1, 1], [2, 3, 9], [2, 3, 5]),  # what a gives away fills b, the rest goes to c
        (7, [0, 1], [9, 5], [2, 5]),  # a has weight 0 and comes last
        (4, [0, 0], [2, 6], [1, 3]),
        (0, [1, 1], [2, 2], [0, 0]),
        (3, [5, 1], [0, 3], [0, 3]),
    ],
)
def test_share_out_by_hand(total: int, weights: list[int], most: list[int], shares: list[int]) -> None:
    names = ["a", "b", "c"][: len(weights)]
    found = share_out(total, dict(zip(names, weights, strict=True)), dict(zip(names, most, strict=True)))
    assert [found[name] for name in names] == shares


@settings(max_examples=200, deadline=None)
@given(data=st.data(), size=st.integers(1, 5))
def test_share_out_spends_all_and_overfills_none(data: st.DataObject, size: int) -> None:
    whole = st.lists(st.integers(0, 30), min_size=size, max_size=size)
    names = [f"c{n}" for n in range(size)]
    weights = dict(zip(names, data.draw(whole), strict=True))
    most = dict(zip(names, data.draw(whole), strict=True))
    total = data.draw(st.integers(0, sum(most.values())))
    shares = share_out(total, weights, most)
    assert sum(shares.values()) == total
    assert all(0 <= shares[name] <= most[name] for name in names)
    turned = share_out(total, dict(reversed(weights.items())), dict(reversed(most.items())))
    assert turned == shares
    free = [name for name in names if weights[name] and shares[name] < most[name]]
    for one in free:  # groups that are not full differ from proportion by rounding alone
        for other in free:
            assert (
                abs(shares[one] * weights[other] - shares[other] * weights[one])
                <= weights[one] + weights[other]
            )


def test_standardised_by_hand() -> None:
    assert standardised(np.array([1.0, 3.0])).tolist() == [-1.0, 1.0]
    assert standardised(np.array([2.0, 2.0])).tolist() == [0.0, 0.0]
    assert standardised(np.zeros(0)).tolist() == []


def test_noise_draws_in_proportion_to_the_softmax_of_the_standardised_value() -> None:
    """One of two is kept; the values are -1 and 1 standard deviations: chances 1 : e^(2 / noise)."""
    prob = np.array([[0.5, 0.25, 0.25], [0.8, 0.1, 0.1]])
    state = candidates([0, 0], total=1, classifier_prob_SC=prob)
    for noise in (1.0, 4.0):
        first = np.mean([kept(Entropy(noise=noise), state, seed) == ["s000"] for seed in range(600)])
        chance = 1 / (1 + math.exp(-2 / noise))
        assert first == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / 600))
    assert all(kept(Entropy(), state, seed) == ["s000"] for seed in range(20))


def test_noise_cools_after_the_first_round() -> None:
    policy = Entropy(noise=2.0, cooling=0.5)
    assert [policy.scale(r) for r in (1, 2, 3)] == [2.0, 1.0, 0.5]
    assert Entropy(noise=2.0).scale(9) == 2.0
    with pytest.raises(
        ValueError, match=r"cooling 0.5 has no effect with noise: 0; raise noise or remove it"
    ):
        Entropy(cooling=0.5)


def test_random_is_fair() -> None:
    state = candidates([0] * 4, total=1)
    times = Counter(kept(Random(), state, seed)[0] for seed in range(800))
    assert len(times) == 4
    assert all(140 < count < 260 for count in times.values())


def test_states_whose_columns_differ_in_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"SelectionState: fields differ in length"):
        candidates([0, 1], passed_S=np.ones(3, dtype=np.bool_))
    with pytest.raises(ValueError, match=r"SelectionState: fields differ in length"):
        candidates([0, 1], real_label_N=np.zeros(2, dtype=np.int64))


SPECS: list[dict[str, Any]] = [
    *({"name": name} for name in registry.names("selection")),
    *({"name": name, "noise": 1.0, "cooling": 0.5} for name in registry.names("selection")),
    *({"name": name, "stratified": False} for name in registry.names("selection")),
    {"name": "gradient_alignment", "drop": 0.9, "noise": 3.0},
    {"name": "covariance", "components": 2, "stratified": False, "noise": 0.5},
]


@st.composite
def selection_states(draw: st.DrawFn) -> SelectionState:
    """Up to 14 candidates, some of them equal in all a policy looks at, of up to three classes."""
    labels = draw(st.lists(st.integers(0, 2), max_size=14))
    state = candidates(
        labels,
        passed=draw(st.lists(st.booleans(), min_size=len(labels), max_size=len(labels))),
        total=draw(st.integers(0, 16)),
        round=draw(st.integers(1, 3)),
        seed=draw(st.integers(0, 5)),
        generated=draw(st.dictionaries(st.sampled_from(CLASSES), st.integers(0, 20))),
    )
    if not labels or not draw(st.booleans()):
        return state
    same = np.zeros(len(labels), dtype=np.int64)
    names = ["judge_prob_SC", "classifier_prob_SC", "feature_SF"]
    return dataclasses.replace(state, **{name: getattr(state, name)[same] for name in names})


def reordered(state: SelectionState, order: list[int]) -> SelectionState:
    names = [f.name for f in dataclasses.fields(state) if f.name.endswith(("_S", "_SC", "_SF"))]
    return dataclasses.replace(
        state,
        **{name: getattr(state, name)[order] for name in ("sample_id", "parent_image_id", *names)},
        generated=dict(reversed(state.generated.items())),
    )


@pytest.mark.parametrize("spec", SPECS, ids=str)
@settings(max_examples=40, deadline=None)
@given(state=selection_states(), data=st.data(), seed=st.integers(0, 9))
def test_every_selection_policy(
    spec: dict[str, Any], state: SelectionState, data: st.DataObject, seed: int
) -> None:
    policy = registry.make("selection", spec)
    selection = chosen(policy, state, seed)
    assert selection.keep_S.dtype == np.bool_
    assert selection.keep_S.sum() == min(state.total, state.passed_S.sum())
    assert not (selection.keep_S & ~state.passed_S).any()
    assert np.isfinite(selection.value_S).all()
    order = data.draw(st.permutations(range(len(state))))
    again = chosen(policy, reordered(state, order), seed)
    assert again.keep_S.tolist() == selection.keep_S[order].tolist()
    assert again.value_S.tolist() == selection.value_S[order].tolist()
    if spec.get("stratified", True):
        total = int(selection.keep_S.sum())
        most = {dx: int((state.passed_S & (state.label_S == c)).sum()) for c, dx in enumerate(CLASSES)}
        made = {dx: state.generated.get(dx, int((state.label_S == c).sum())) for c, dx in enumerate(CLASSES)}
        present = [dx for c, dx in enumerate(CLASSES) if (state.label_S == c).any()]
        expected = share_out(total, {dx: made[dx] for dx in present}, {dx: most[dx] for dx in present})
        if spec["name"] != "gradient_alignment":  # it fills up with its worst share last, class by class
            found = Counter(CLASSES[int(label)] for label in state.label_S[selection.keep_S])
            assert {dx: found[dx] for dx in present} == expected


@pytest.mark.parametrize("name", ["random", "entropy", "covariance"])
def test_another_seed_changes_what_chance_decides(name: str) -> None:
    state = candidates([0, 1, 2] * 10, total=9)
    policy = registry.make("selection", {"name": name, "noise": 1.0})
    assert len({tuple(kept(policy, state, seed)) for seed in range(5)}) == 5


@pytest.mark.parametrize("name", [n for n in registry.names("selection") if n != "random"])
def test_without_noise_no_seed_matters(name: str) -> None:
    state = candidates([0, 1, 2] * 10, total=9)
    policy = registry.make("selection", {"name": name})
    assert len({tuple(kept(policy, state, seed)) for seed in range(5)}) == 1
