"""Budget decisions computed by hand, and the properties every budget policy has."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.types import BudgetState, HardCases, strings
from policies import registry
from policies.budget import (
    Bandit,
    ClassBalanced,
    ImagesPerParent,
    InverseSensitivity,
    Uniform,
    by_class,
    fill_up,
)

T = TypeVar("T")


def hard_cases(rows: list[tuple[str, str, float]]) -> HardCases:
    return HardCases(
        image_id=strings([r[0] for r in rows]),
        true=strings([r[1] for r in rows]),
        predicted=strings(["?"] * len(rows)),
        score=np.array([r[2] for r in rows], dtype=np.float64),
    )


def allocated(
    policy: object, rows: list[tuple[str, str, float]], total: int, counts: dict[str, int]
) -> list[int]:
    state = BudgetState(cases=hard_cases(rows), total=total, round=1, class_counts=counts)
    result: np.ndarray = policy.allocate(state, np.random.default_rng(0))  # type: ignore[attr-defined]
    assert result.dtype == np.int64
    return list(result.tolist())


Shares = dict[str, float]
MEL_NV = [("a", "mel", 0.9), ("b", "mel", 0.8), ("c", "nv", 0.7), ("d", "mel", 0.6)]
COUNTS = {"mel": 10, "nv": 100}


def test_uniform_gives_the_remainder_to_the_hardest() -> None:
    assert allocated(Uniform(), MEL_NV, 10, COUNTS) == [3, 3, 2, 2]
    assert allocated(Uniform(), MEL_NV, 3, COUNTS) == [1, 1, 1, 0]
    assert allocated(Uniform(), MEL_NV, 8, COUNTS) == [2, 2, 2, 2]


def test_uniform_does_not_trust_the_order_of_the_cases() -> None:
    assert allocated(Uniform(), MEL_NV[::-1], 3, COUNTS) == [0, 1, 1, 1]


def test_uniform_breaks_ties_by_image_id() -> None:
    assert allocated(Uniform(), [("b", "nv", 0.5), ("a", "nv", 0.5)], 1, COUNTS) == [0, 1]


def test_images_per_parent_spends_on_the_hardest_first() -> None:
    assert allocated(ImagesPerParent(images=3), MEL_NV, 7, COUNTS) == [3, 3, 1, 0]
    assert allocated(ImagesPerParent(images=3), MEL_NV, 6, COUNTS) == [3, 3, 0, 0]
    assert allocated(ImagesPerParent(images=3), MEL_NV[::-1], 7, COUNTS) == [0, 1, 3, 3]
    assert allocated(ImagesPerParent(images=3), MEL_NV, 12, COUNTS) == [3, 3, 3, 3]
    assert allocated(ImagesPerParent(images=3), MEL_NV, 14, COUNTS) == [4, 4, 3, 3]  # too few parents
    assert allocated(ImagesPerParent(images=9), MEL_NV, 0, COUNTS) == [0, 0, 0, 0]


def test_class_balanced_divides_between_classes_then_cases() -> None:
    assert allocated(ClassBalanced(), MEL_NV, 8, COUNTS) == [2, 1, 4, 1]


def test_class_balanced_gives_the_odd_one_to_the_class_with_fewest_images() -> None:
    assert allocated(ClassBalanced(), MEL_NV, 9, COUNTS) == [2, 2, 4, 1]
    assert allocated(ClassBalanced(), MEL_NV, 9, {"mel": 100, "nv": 10}) == [2, 1, 5, 1]


def test_even_out_fills_the_rare_class_first() -> None:
    rows = [("a", "df", 0.9), ("b", "nv", 0.8), ("c", "vasc", 0.7)]
    counts = {"df": 2, "nv": 50, "vasc": 5}
    assert allocated(ClassBalanced(mode="even_out"), rows, 3, counts) == [3, 0, 0]
    assert allocated(ClassBalanced(mode="even_out"), rows, 13, counts) == [8, 0, 5]
    assert allocated(ClassBalanced(mode="even_out"), rows, 100, counts) == [51, 2, 47]


def test_even_out_takes_a_class_of_unknown_count_for_empty() -> None:
    assert allocated(ClassBalanced(mode="even_out"), MEL_NV, 4, {"nv": 2}) == [1, 1, 1, 1]


def weighted(policy: object, sensitivity: Shares, gains: tuple[Shares, ...] = (), seed: int = 0) -> list[int]:
    state = BudgetState(
        cases=hard_cases(MEL_NV),
        total=20,
        round=1,
        class_counts=COUNTS,
        sensitivity=sensitivity,
        gain_history=gains,
    )
    counts: np.ndarray = policy.allocate(state, np.random.default_rng(seed))  # type: ignore[attr-defined]
    return [
        int(sum(n for n, row in zip(counts.tolist(), MEL_NV, strict=True) if row[1] == dx))
        for dx in ("mel", "nv")
    ]


def test_inverse_sensitivity_gives_the_missed_class_its_share() -> None:
    assert weighted(InverseSensitivity(), {"mel": 0.4, "nv": 0.8}) == [15, 5]  # misses 0.6 : 0.2
    assert weighted(InverseSensitivity(power=2), {"mel": 0.4, "nv": 0.8}) == [18, 2]  # 0.36 : 0.04
    assert weighted(InverseSensitivity(power=0), {"mel": 0.4, "nv": 0.8}) == [10, 10]
    assert weighted(InverseSensitivity(), {"mel": 0.4, "nv": 1.0}) == [18, 2]  # 0.6 : floor 0.05, rounded
    assert weighted(InverseSensitivity(), {"mel": 0.4}) == [10, 10]  # nv counts as what is known
    assert weighted(InverseSensitivity(power=400), {"mel": 1.0, "nv": 1.0}) == [10, 10]  # 0.05^400 is 0
    assert weighted(InverseSensitivity(power=400), {"mel": 0.9, "nv": 0.95}) == [20, 0]


def test_by_class_gives_remainders_to_the_larger_fraction_then_to_the_rarer_class() -> None:
    state = BudgetState(cases=hard_cases(MEL_NV), total=5, round=1, class_counts=COUNTS)
    assert by_class(state, {"mel": 0.5, "nv": 0.5}).tolist() == [1, 1, 2, 1]  # 2.5 : 2.5, mel is rarer
    assert by_class(state, {"mel": 0.34, "nv": 0.66}).tolist() == [1, 1, 3, 0]  # 1.7 : 3.3


def test_the_bandit_turns_to_the_class_that_gained() -> None:
    gains = ({"mel": 0.10, "nv": -0.05},) * 4
    assert weighted(Bandit(), {}, gains)[0] >= 18
    assert weighted(Bandit(), {}, ({"mel": -0.05, "nv": 0.10},) * 4)[1] >= 18
    drawn = {tuple(weighted(Bandit(), {}, seed=seed)) for seed in range(20)}
    assert len(drawn) > 3, "without experience it explores"
    posterior = Bandit(prior_std=0.1, noise_std=0.1)
    state = BudgetState(cases=hard_cases(MEL_NV), total=1, round=2, gain_history=({"mel": 0.3}, {"mel": 0.0}))
    assert posterior._mean(state, "mel") == pytest.approx(0.1)  # two looks and the prior weigh a third each
    assert posterior._std(state, "mel") == pytest.approx(0.1 / 3**0.5)


def test_fill_up_by_hand() -> None:
    assert fill_up({"a": 0, "b": 3}, 5, ["a", "b"]) == {"a": 4, "b": 1}
    assert fill_up({}, 5, []) == {}


@pytest.mark.parametrize("name", registry.names("budget"))
def test_no_case_gets_nothing(name: str) -> None:
    assert allocated(registry.make("budget", {"name": name}), [], 7, COUNTS) == []


CLASSES = ["df", "mel", "nv"]
rows_of_cases = st.lists(st.tuples(st.sampled_from(CLASSES), st.integers(0, 4)), min_size=1, max_size=12).map(
    lambda drawn: [(f"i{n:02d}", dx, score / 4) for n, (dx, score) in enumerate(drawn)]
)


def of_classes(low: float, high: float) -> st.SearchStrategy[Shares]:
    """A figure of some classes, in any order, the ends of its range often; the others' is unknown."""
    figure = st.floats(low, high) | st.sampled_from([low, high])
    return st.dictionaries(st.sampled_from(CLASSES), figure, max_size=3)


@st.composite
def budget_states(draw: st.DrawFn) -> BudgetState:
    """All that a policy may look at: cases, counts, sensitivities, and the gains of up to four rounds."""
    return BudgetState(
        cases=hard_cases(draw(rows_of_cases)),
        total=draw(st.integers(0, 60)),
        round=1,
        class_counts=draw(st.dictionaries(st.sampled_from(CLASSES), st.integers(0, 200), max_size=3)),
        sensitivity=draw(of_classes(0.0, 1.0)),
        gain_history=tuple(draw(st.lists(of_classes(-1.0, 1.0), max_size=4))),
    )


def reversed_mapping(mapping: Mapping[str, T]) -> dict[str, T]:
    return dict(reversed(list(mapping.items())))


def reordered(state: BudgetState, order: list[int]) -> BudgetState:
    """The same state, its cases in another order and its mappings written the other way round."""
    cases = HardCases(
        **{f.name: getattr(state.cases, f.name)[order] for f in dataclasses.fields(state.cases)}
    )
    return dataclasses.replace(
        state,
        cases=cases,
        class_counts=reversed_mapping(state.class_counts),
        sensitivity=reversed_mapping(state.sensitivity),
        gain_history=tuple(reversed_mapping(gain) for gain in state.gain_history),
    )


SPECS: list[dict[str, Any]] = [
    *({"name": name} for name in registry.names("budget")),
    {"name": "class_balanced", "mode": "even_out"},
    {"name": "inverse_sensitivity", "power": 400.0},
    {"name": "bandit", "temperature": 0.001},
    {"name": "images_per_parent", "images": 2},
]


@pytest.mark.slow
@pytest.mark.parametrize("spec", SPECS, ids=str)
@settings(max_examples=40, deadline=None)
@given(state=budget_states(), data=st.data(), seed=st.integers(0, 9))
def test_every_budget_policy(
    spec: dict[str, Any], state: BudgetState, data: st.DataObject, seed: int
) -> None:
    policy = registry.make("budget", spec)
    counts = policy.allocate(state, np.random.default_rng(seed))
    assert counts.dtype == np.int64
    assert counts.sum() == state.total
    assert counts.min() >= 0
    order = data.draw(st.permutations(range(len(counts))))
    again = policy.allocate(reordered(state, order), np.random.default_rng(seed))
    assert again.tolist() == counts[order].tolist()
    if spec["name"] == "images_per_parent":  # the hardest get all they can
        ranked = counts[np.lexsort((state.cases.image_id, -state.cases.score))]
        images = registry.make("budget", spec).images  # type: ignore[attr-defined]
        most = max(images, -(-state.total // len(counts)))
        assert ranked.max() <= most
        assert (np.diff(ranked) <= 0).all()
        assert ((ranked > 0) & (ranked < images)).sum() <= 1
        return
    for dx in set(state.cases.true.tolist()):
        own = counts[state.cases.true == dx]
        assert own.max() - own.min() <= 1


def class_share(counts: np.ndarray, state: BudgetState, dx: str) -> int:
    return int(counts[state.cases.true == dx].sum())


@settings(deadline=None)
@given(state=budget_states())
def test_inverse_sensitivity_gives_the_class_that_is_missed_more_no_less(state: BudgetState) -> None:
    counts = registry.make("budget", {"name": "inverse_sensitivity"}).allocate(
        state, np.random.default_rng(0)
    )
    present = [dx for dx in state.sensitivity if dx in state.cases.true]
    for weak, strong in itertools.permutations(present, 2):
        if state.sensitivity[weak] < state.sensitivity[strong] - 1e-6:
            assert class_share(counts, state, weak) >= class_share(counts, state, strong)
