"""What a run has so far: each arm's latest state, the images made in each round, the finished reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.store import StageFolder


@dataclass(frozen=True, kw_only=True)
class ArmState:
    """One arm after one round: its classifier, predictions, report and the optimizer steps it has had."""

    classifier: StageFolder
    predict: StageFolder
    report: Mapping[str, Any]
    steps: int


@dataclass
class History:
    """What a run has so far: arms by name (latest state), synthesis a round and source, finished reports."""

    arms: dict[str, ArmState] = field(default_factory=dict)
    trained_in: dict[str, int] = field(default_factory=dict)
    sources: dict[tuple[int, str], dict[str, StageFolder]] = field(default_factory=dict)
    hard_predict: list[StageFolder] = field(default_factory=list)
    reports: list[dict[str, Any]] = field(default_factory=list)

    def made(self, source: str, until: int) -> dict[int, dict[str, StageFolder]]:
        """Return the synthesis stages of ``source`` (hard | random) by round, up to and with ``until``."""
        return {
            number: stages
            for (number, kind), stages in self.sources.items()
            if kind == source and number <= until
        }

    def start_from(self, state: ArmState, arms: Sequence[str]) -> None:
        """Let every arm begin at ``state``, which round 0 trained."""
        self.arms = dict.fromkeys(arms, state)
        self.trained_in = dict.fromkeys(arms, 0)
        self.hard_predict.append(state.predict)
