"""Stopping decisions by hand, and when patience runs out."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.types import StopDecision, StoppingState
from policies import registry
from policies.stopping import MarginalValue, MaxRounds, Patience, SpecificityGuard


def decided(policy: Any, values: list[float], planned: int = 10) -> StopDecision:
    decision: StopDecision = policy.decide(
        StoppingState(round=len(values) - 1, planned=planned, values=tuple(values))
    )
    return decision


def test_max_rounds_follows_the_plan() -> None:
    assert decided(MaxRounds(), [0.5, 0.6], planned=2) == StopDecision(
        action="continue", reason="round 1 of 2"
    )
    assert decided(MaxRounds(), [0.5, 0.6, 0.6], planned=2) == StopDecision(
        action="stop", reason="round 2 of 2 is done"
    )


def test_max_rounds_can_stop_earlier_but_not_later() -> None:
    assert decided(MaxRounds(rounds=1), [0.5, 0.6], planned=3).action == "stop"
    assert decided(MaxRounds(rounds=9), [0.5, 0.6], planned=1).action == "stop"


@pytest.mark.parametrize(
    ("values", "action"),
    [
        ([0.5, 0.6, 0.7], "continue"),
        ([0.5, 0.6, 0.6], "continue"),
        ([0.5, 0.6, 0.6, 0.55], "roll_back"),
        ([0.5, 0.4, 0.45], "roll_back"),
        ([0.5, 0.4, 0.51], "continue"),
        ([0.5], "continue"),
    ],
)
def test_patience_of_two_rounds(values: list[float], action: str) -> None:
    assert decided(Patience(), values).action == action


def test_patience_says_which_round_is_best() -> None:
    assert decided(Patience(), [0.5, 0.6, 0.6, 0.55]).reason == (
        "no rise above 0 for 2 rounds; round 1 is best (0.6000)"
    )
    assert decided(Patience(rounds=1), [0.5, 0.4]).reason == "no rise; round 0 is best (0.5000)"
    assert decided(Patience(), [0.5, 0.6, 0.6]).reason == "round 1 is best, 1 of 2 without rise"


def test_a_rise_must_exceed_min_delta_over_the_best() -> None:
    creeping = [0.50, 0.51, 0.52]
    assert decided(Patience(min_delta=0.015), creeping).action == "continue"
    assert decided(Patience(min_delta=0.02), creeping).action == "roll_back"


def test_without_roll_back_patience_just_stops() -> None:
    assert decided(Patience(roll_back=False), [0.5, 0.4, 0.4]).action == "stop"


def test_a_roll_back_names_the_round_it_keeps() -> None:
    assert decided(Patience(), [0.5, 0.6, 0.6, 0.55]).keep_round == 1
    assert decided(Patience(min_delta=0.02), [0.50, 0.51, 0.52]).keep_round == 0, (
        "what rose too little is given up"
    )
    assert decided(Patience(), [0.5, 0.6, 0.6]).keep_round is None
    assert decided(Patience(roll_back=False), [0.5, 0.4, 0.4]).keep_round is None
    assert guarded([0.90, 0.91, 0.89, 0.80], [0.5, 0.6, 0.55, 0.9]).keep_round == 1
    assert guarded([0.90, 0.91, 0.89, 0.80], [math.nan, 0.6, 0.55, 0.9]).keep_round == 1
    tolerated = guarded([0.90, 0.86, 0.91, 0.80], [0.5, 0.8, 0.6, 0.9], by_interval=True)
    assert tolerated.keep_round == 1, "0.86 reaches up to 0.89: the guard let this round pass"


def test_patience_ends_with_the_plan() -> None:
    assert decided(Patience(), [0.5, 0.6], planned=1) == StopDecision(
        action="stop", reason="round 1 of 1 is done"
    )
    assert decided(Patience(rounds=1), [0.5, 0.4], planned=1).action == "roll_back"


@pytest.mark.parametrize("nothing", [math.nan, -math.inf])
def test_an_undefined_figure_never_improves(nothing: float) -> None:
    assert decided(Patience(), [nothing, 0.3]).action == "continue"
    assert Patience().best_round((nothing, 0.3, nothing)) == 1
    assert decided(Patience(), [0.3, nothing, nothing]).action == "roll_back"


def guarded(specificity: list[float | None], values: list[float], **settings: Any) -> StopDecision:
    def figure(value: float | None) -> dict[str, float | None]:
        return {"value": value, "low": value and value - 0.03, "high": value and value + 0.03}

    val = [{"malignant": {"specificity": figure(v)}} for v in specificity]
    state = StoppingState(round=len(values) - 1, planned=9, values=tuple(values), val=tuple(val))
    decision: StopDecision = SpecificityGuard(**settings).decide(state)
    return decision


def test_the_guard_rolls_back_to_the_best_round_that_kept_its_specificity() -> None:
    assert guarded([0.90, 0.89], [0.5, 0.6]).action == "continue"
    assert guarded([0.90, 0.88], [0.5, 0.6]).action == "continue"  # a fall of exactly the margin is tolerated
    fell = guarded([0.90, 0.91, 0.85], [0.5, 0.6, 0.7])
    assert fell == StopDecision(
        action="roll_back", reason="specificity fell to 0.850 (bound 0.880); back to round 1", keep_round=1
    )
    assert guarded([0.90, 0.86], [0.5, 0.6], by_interval=True).action == "continue"  # up to 0.89
    assert guarded([0.90, 0.80], [0.5, 0.6], by_interval=True).action == "roll_back"
    assert guarded([None, None], [0.5, 0.6]).action == "continue"


def test_marginal_value_weighs_the_rise_by_the_images_it_took() -> None:
    def value(values: list[float], accepted: list[int]) -> StopDecision:
        state = StoppingState(
            round=len(values) - 1, planned=9, values=tuple(values), accepted=tuple(accepted)
        )
        return MarginalValue(least=0.01).decide(state)

    assert value([0.5, 0.52], [0, 100]).action == "continue"  # 0.02 for each 100
    assert value([0.5, 0.52], [0, 400]) == StopDecision(
        action="stop", reason="0.0050 for each 100 of 400 accepted images, less than 0.01"
    )
    assert value([0.5, 0.9], [0, 0]).action == "stop"
    assert value([0.5], [0]).action == "continue"


def val_object(specificity: float | None) -> dict[str, Any]:
    """A round's val metrics as report.json has them; without malignant classes there is no figure."""
    if specificity is None:
        return {"malignant": None}
    figure = {"value": specificity, "low": specificity - 0.03, "high": min(specificity + 0.03, 1.0)}
    return {"malignant": {"specificity": figure}}


@st.composite
def states(draw: st.DrawFn) -> StoppingState:
    """One to eight rounds with all that a policy may look at; specificity is known in each, or in some of them."""
    count = draw(st.integers(1, 8))

    def each(one: st.SearchStrategy[Any]) -> tuple[Any, ...]:
        return tuple(draw(st.lists(one, min_size=count, max_size=count)))

    known = st.floats(0.8, 1.0)
    specificity = each(known if draw(st.booleans()) else known | st.none())
    return StoppingState(
        round=count - 1,
        planned=draw(st.integers(1, 8)),
        values=each(st.floats(0, 1)),
        val=tuple(val_object(value) for value in specificity),
        accepted=(0, *each(st.integers(0, 300))[1:]),
    )


STOPPING = [{"name": name} for name in registry.names("stopping")] + [
    {"name": "specificity_guard", "by_interval": True}
]


@pytest.mark.parametrize("spec", STOPPING, ids=str)
@settings(deadline=None)
@given(state=states())
def test_every_stopping_policy(spec: dict[str, Any], state: StoppingState) -> None:
    policy = registry.make("stopping", spec)
    decision = policy.decide(state)
    assert decision == policy.decide(state)
    assert decision.action in ("continue", "stop", "roll_back")
    assert decision.reason
    if state.round >= state.planned:
        assert decision.action != "continue"
    if decision.action == "roll_back":
        assert decision.keep_round in range(state.round), "an earlier round"
    else:
        assert decision.keep_round is None


@pytest.mark.parametrize(("by_interval", "end"), [(False, "value"), (True, "high")])
@settings(deadline=None)
@given(state=states())
def test_the_guard_rolls_back_where_specificity_fell_and_nowhere_else(
    by_interval: bool, end: str, state: StoppingState
) -> None:
    figures = [(metrics["malignant"] or {}).get("specificity") for metrics in state.val]
    first, last = figures[0], figures[-1]
    fell = bool(first and last and last[end] < first["value"] - 0.02)
    assert (SpecificityGuard(by_interval=by_interval).decide(state).action == "roll_back") == fell


@settings(deadline=None)
@given(state=states())
def test_marginal_value_goes_on_while_the_images_pay(state: StoppingState) -> None:
    paid = state.round == 0
    if state.round > 0 and state.accepted[-1]:
        paid = 100 * (state.values[-1] - state.values[-2]) / state.accepted[-1] >= 0.002
    expected = "continue" if paid and state.round < state.planned else "stop"
    assert MarginalValue().decide(state).action == expected


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_patience_rolls_back_to_the_maximum(values: list[float]) -> None:
    best = Patience().best_round(tuple(values))
    assert values[best] == max(values)
    assert max(values) not in values[:best]
