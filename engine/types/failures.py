"""Why an attempt at a stage failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Cause(StrEnum):
    """What ended an attempt."""

    WORKER_LOST = "worker lost"
    NODE_LOST = "node lost"
    PREEMPTED = "preempted"
    OUT_OF_MEMORY = "out of memory"
    DISK_FULL = "disk full"
    EXCEPTION = "exception"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A failed attempt: its cause, what was said in one line, and the seconds it had taken."""

    cause: Cause
    said: str
    seconds: float = 0.0


def causes_text(failures: Iterable[Failure]) -> str:
    """Return the causes with their counts, for example ``worker lost 2, preempted 1``, in the order of ``Cause``."""
    counts = Counter(failure.cause for failure in failures)
    return ", ".join(f"{cause} {counts[cause]}" for cause in Cause if counts[cause])
