"""Stopping policies: whether the loop goes on after a round, stops, or rolls back to an earlier one."""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.types import StopDecision, StoppingState
from policies.parameters import param
from policies.registry import register


@register("stopping", "max_rounds")
@dataclass(frozen=True, kw_only=True)
class MaxRounds:
    """Stop after the planned rounds, or after fewer."""

    rounds: int | None = param(None, "rounds after round 0; null or more than loop.rounds: loop.rounds", ge=1)

    def decide(self, state: StoppingState) -> StopDecision:
        """Stop once the last round is done."""
        last = state.planned if self.rounds is None else min(self.rounds, state.planned)
        if state.round >= last:
            return StopDecision(action="stop", reason=f"round {state.round} of {last} is done")
        return StopDecision(action="continue", reason=f"round {state.round} of {last}")


@register("stopping", "patience")
@dataclass(frozen=True, kw_only=True)
class Patience:
    """Stop when the watched val figure has not risen for some rounds, at the latest after the planned ones.

    A round improves when it beats the best round before it by more than ``min_delta``; an undefined figure (NaN)
    never does.
    """

    rounds: int = param(2, "rounds without improvement before stopping", ge=1)
    min_delta: float = param(0.0, "least rise of the val figure that counts as improvement", ge=0.0)
    roll_back: bool = param(True, "return to the best round when patience runs out; false: keep the last")

    def decide(self, state: StoppingState) -> StopDecision:
        """Continue, stop, or roll back after ``state.round``; ``state.values`` holds round 0 first."""
        best = self.best_round(state.values)
        stale = len(state.values) - 1 - best
        if stale >= self.rounds:
            action = "roll_back" if self.roll_back else "stop"
            since = f"no rise above {self.min_delta:g} for {stale} rounds" if stale > 1 else "no rise"
            return StopDecision(
                action=action, reason=f"{since}; round {best} is best ({state.values[best]:.4f})"
            )
        if state.round >= state.planned:
            return StopDecision(action="stop", reason=f"round {state.round} of {state.planned} is done")
        return StopDecision(
            action="continue", reason=f"round {best} is best, {stale} of {self.rounds} without rise"
        )

    def best_round(self, values: tuple[float, ...]) -> int:
        """Return the last round that improved on all before it (0 where none did)."""
        best = 0
        for index, value in enumerate(values):
            rises_from_nothing = math.isnan(values[best]) and not math.isnan(value)
            if rises_from_nothing or value > values[best] + self.min_delta:
                best = index
        return best
