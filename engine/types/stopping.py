"""What stopping policies see and decide: how a round ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


@dataclass(frozen=True, kw_only=True)
class StoppingState:
    """What a stopping policy may look at: the val metric object of each finished round of arm ``hard``.

    ``values`` is the watched metric a round, round 0 first; ``val`` the whole val metric objects (report.json's);
    ``accepted`` the synthetic images accepted in each round (0 in round 0); ``planned`` is ``loop.rounds``.
    """

    round: int
    planned: int
    values: tuple[float, ...]
    val: tuple[Mapping[str, Any], ...] = ()
    accepted: tuple[int, ...] = ()


class Action(StrEnum):
    """How a round ends. A stopping policy says one of the first three."""

    CONTINUE = "continue"
    STOP = "stop"
    ROLL_BACK = "roll_back"
    """Stop and keep an earlier round."""
    REVIEW = "review"
    """The loop waits until a person has looked at images."""
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class StopDecision:
    """What happens after a round, with the reason.

    ``keep_round``, of a roll-back: no later round may be champion. Without it, only the round just finished may not.
    """

    action: Action
    reason: str
    keep_round: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "action", Action(self.action))  # a plug-in may write its text
