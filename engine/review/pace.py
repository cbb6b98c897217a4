"""How long the rest of a work list will take at the reader's own pace."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from datetime import datetime
from typing import Final

PAUSE: Final = 300.0
"""Seconds between two answers above which the reader was away."""
LATEST: Final = 20
"""Answers that the pace is read from."""


def seconds_left(answered_at: Sequence[str], left: int) -> float | None:
    """Return ``left`` times the median seconds between the latest answers; None before there are three.

    Args:
        answered_at: times of the reader's answers in their order, ISO 8601; what is no time is left out.
        left: images without an answer.
    """
    times = [t.timestamp() for text in answered_at[-LATEST:] if (t := _time(text)) is not None]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    worked = [gap for gap in gaps if 0.0 <= gap <= PAUSE]
    return left * statistics.median(worked) if len(worked) >= 2 else None


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
