"""The failure policy: what follows a failed attempt at a stage. Causes in, decision out; it starts and stops nothing.

After Ray Train v2's failure policy: each cause has a budget of its own. Exceptions of ours are never retried, since they
would come again. Losses of workers and nodes are retried up to a limit. Preemptions are free: spot nodes go by no fault
of the stage. Want of memory is retried once where the stage maps, on half as many workers: how work is spread over workers
changes no result, while the batch of a forward pass or of a training does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from engine.errors import FullDiskError, NoMemoryError
from engine.types import Cause

MOST: Final = {Cause.WORKER_LOST: 2, Cause.NODE_LOST: 8, Cause.PREEMPTED: 100}
"""How many failures of a cause are followed by another attempt.

A worker that died three times was ended by the stage itself (a crash in compiled code) or by the kernel, for its memory.
Nodes fail on their own, a few in days. Preemptions are bounded only so that nothing runs for ever: at one node of
20 minutes each, 100 are more than a day on one stage, and a rerun goes on from the checkpoint anyway.
"""

_ADVICE: Final = {
    Cause.WORKER_LOST: "a library may have crashed, or the kernel ended it for its memory (`dmesg`)",
    Cause.NODE_LOST: "look after the nodes (`ray status`)",
    Cause.PREEMPTED: "take nodes that stay longer, or lower checkpoint_every",
}


class AttemptError(Exception):
    """An attempt ended by what happened to its worker or node; never shown to a user."""

    def __init__(self, cause: Cause, said: str) -> None:
        """Take the cause, and what was said about it in one line."""
        super().__init__(cause, said)
        self.cause = Cause(cause)
        self.said = said

    def __str__(self) -> str:
        """Return what was said."""
        return self.said


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What follows a failure: another attempt, its map workers halved ``halvings`` times, or the end with advice."""

    again: bool
    halvings: int = 0
    advice: str = ""


def decide(causes: Sequence[Cause], *, maps: bool) -> Decision:
    """Return what follows the last of the causes so far, one per failed attempt, at least one.

    ``maps``: whether the stage maps over images.
    """
    newest = causes[-1]
    count, halvings = causes.count(newest), causes.count(Cause.OUT_OF_MEMORY)
    limit = int(maps) if newest is Cause.OUT_OF_MEMORY else MOST.get(newest, 0)
    if count <= limit:
        return Decision(again=True, halvings=halvings)
    return Decision(again=False, halvings=halvings, advice=_ADVICE.get(newest, ""))


def cause_of(error: BaseException) -> Cause:
    """Return what ended an attempt that raised ``error``."""
    if isinstance(error, AttemptError):
        return error.cause
    if isinstance(error, FullDiskError):
        return Cause.DISK_FULL
    return Cause.OUT_OF_MEMORY if isinstance(error, NoMemoryError) else Cause.EXCEPTION
