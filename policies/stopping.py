"""Stopping policies: whether the loop goes on after a round, stops, or rolls back to an earlier one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from engine.types import Action, StopDecision, StoppingState
from policies.base import STRICT
from policies.registry import register


@register("stopping", "max_rounds")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class MaxRounds:
    """Stop after the planned rounds, or after fewer."""

    rounds: int | None = Field(
        None, ge=1, description="rounds after round 0; null or more than loop.rounds: loop.rounds"
    )

    def decide(self, state: StoppingState) -> StopDecision:
        """Stop once the last round is done."""
        last = state.planned if self.rounds is None else min(self.rounds, state.planned)
        if state.round >= last:
            return StopDecision(action=Action.STOP, reason=f"round {state.round} of {last} is done")
        return StopDecision(action=Action.CONTINUE, reason=f"round {state.round} of {last}")


@register("stopping", "specificity_guard")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class SpecificityGuard:
    """Roll back when specificity falls: higher sensitivity must not come from calling every lesion malignant.

    Malignant specificity on val, at the operating point, must stay above round 0's minus ``margin`` (non-inferiority on
    the estimate; ``by_interval``: on the upper end of its interval, so that only a clear fall counts). Ours, with the
    margin of non-inferiority trials (ICH E9 1998, Sec. 3.3.2): those claim by an interval, this one raises an alarm.
    """

    margin: float = Field(0.02, ge=0.0, lt=1.0, description="largest fall of specificity that is tolerated")
    by_interval: bool = Field(
        False, description="roll back only when the whole interval lies below the bound"
    )

    def decide(self, state: StoppingState) -> StopDecision:
        """Continue, stop with the plan, or roll back to the best round that kept its specificity."""
        figures = [_specificity(metrics) for metrics in state.val]
        if not figures or figures[0] is None or figures[-1] is None:
            return _as_planned(state, "specificity unknown")
        bound = figures[0]["value"] - self.margin
        end = "high" if self.by_interval else "value"
        reached = figures[-1][end]
        if reached >= bound:
            return _as_planned(state, f"specificity {reached:.3f}, at least {bound:.3f}")
        safe = [n for n, f in enumerate(figures) if f is not None and f[end] >= bound]
        best = max(safe, key=lambda n: (-math.inf if math.isnan(state.values[n]) else state.values[n], -n))
        return StopDecision(
            action=Action.ROLL_BACK,
            reason=f"specificity fell to {reached:.3f} (bound {bound:.3f}); back to round {best}",
            keep_round=best,
        )


@register("stopping", "marginal_value")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class MarginalValue:
    """Stop when a round's images bring too little: rise of the watched val figure per 100 accepted images.

    Ours, after the stopping rule of active learning that the next data must bring more than they cost (Settles 2009),
    with synthetic images instead of labels.
    """

    least: float = Field(0.002, ge=0.0, description="least rise per 100 accepted images")
    after: int = Field(1, ge=1, description="rounds that always run")

    def decide(self, state: StoppingState) -> StopDecision:
        """Continue, or stop after ``state.round``; a round without accepted images brings nothing."""
        if state.round < self.after or len(state.values) < 2:
            return _as_planned(state, "too early to tell")
        rise = state.values[-1] - state.values[-2]
        accepted = state.accepted[-1] if state.accepted else 0
        value = 100.0 * rise / accepted if accepted and math.isfinite(rise) else 0.0
        if value < self.least:
            return StopDecision(
                action=Action.STOP,
                reason=f"{value:.4f} for each 100 of {accepted} accepted images, less than {self.least:g}",
            )
        return _as_planned(state, f"{value:.4f} for each 100 accepted images")


def _specificity(metrics: Mapping[str, Any]) -> Mapping[str, float] | None:
    """The malignant specificity of a val metric object; None where it is undefined."""
    figure = (metrics.get("malignant") or {}).get("specificity")
    return figure if figure and figure.get("value") is not None else None


def _as_planned(state: StoppingState, why: str) -> StopDecision:
    if state.round >= state.planned:
        return StopDecision(action=Action.STOP, reason=f"round {state.round} of {state.planned} is done")
    return StopDecision(action=Action.CONTINUE, reason=f"round {state.round} of {state.planned}; {why}")


@register("stopping", "patience")
@dataclass(frozen=True, kw_only=True, config=STRICT)
class Patience:
    """Stop when the watched val figure has not risen for some rounds, at the latest after the planned ones.

    A round improves when it beats the best round before it by more than ``min_delta``; an undefined figure (NaN)
    never does. Early stopping (Prechelt 1998) over rounds instead of training steps.
    """

    rounds: int = Field(2, ge=1, description="rounds without improvement before stopping")
    min_delta: float = Field(
        0.0, ge=0.0, description="least rise of the val figure that counts as improvement"
    )
    roll_back: bool = Field(
        True, description="no round after the best one may become champion; false: val decides among all"
    )

    def decide(self, state: StoppingState) -> StopDecision:
        """Continue, stop, or roll back after ``state.round``; ``state.values`` holds round 0 first."""
        best = self.best_round(state.values)
        stale = len(state.values) - 1 - best
        if stale >= self.rounds:
            since = f"no rise above {self.min_delta:g} for {stale} rounds" if stale > 1 else "no rise"
            return StopDecision(
                action=Action.ROLL_BACK if self.roll_back else Action.STOP,
                reason=f"{since}; round {best} is best ({state.values[best]:.4f})",
                keep_round=best if self.roll_back else None,
            )
        if state.round >= state.planned:
            return StopDecision(action=Action.STOP, reason=f"round {state.round} of {state.planned} is done")
        return StopDecision(
            action=Action.CONTINUE, reason=f"round {best} is best, {stale} of {self.rounds} without rise"
        )

    def best_round(self, values: tuple[float, ...]) -> int:
        """Return the last round that improved on all before it (0 where none did)."""
        best = 0
        for index, value in enumerate(values):
            rises_from_nothing = math.isnan(values[best]) and not math.isnan(value)
            if rises_from_nothing or value > values[best] + self.min_delta:
                best = index
        return best
