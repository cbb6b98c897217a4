"""Budget decisions computed by hand, and the properties every budget policy has."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.types import BudgetState, HardCases, strings
from policies import registry
from policies.budget import Bandit, ClassBalanced, InverseSensitivity, Uniform, by_class, fill_up


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


rows_of_cases = st.lists(
    st.tuples(st.sampled_from(["df", "mel", "nv"]), st.integers(0, 4)), min_size=1, max_size=12
).map(lambda drawn: [(f"i{n:02d}", dx, score / 4) for n, (dx, score) in enumerate(drawn)])


@pytest.mark.parametrize(
    "spec",
    [{"name": name} for name in registry.names("budget")] + [{"name": "class_balanced", "mode": "even_out"}],
)
@settings(max_examples=40, deadline=None)
@given(rows=rows_of_cases, total=st.integers(0, 60), data=st.data())
def test_every_budget_policy(
    spec: dict[str, str], rows: list[tuple[str, str, float]], total: int, data: st.DataObject
) -> None:
    policy = registry.make("budget", spec)
    counts = allocated(policy, rows, total, COUNTS)
    assert sum(counts) == total
    assert min(counts) >= 0
    shuffled = data.draw(st.permutations(rows))
    given_to = {row[0]: count for row, count in zip(rows, counts, strict=True)}
    assert allocated(policy, shuffled, total, COUNTS) == [given_to[row[0]] for row in shuffled]
    for dx in {row[1] for row in rows}:
        own = [count for row, count in zip(rows, counts, strict=True) if row[1] == dx]
        assert max(own) - min(own) <= 1
