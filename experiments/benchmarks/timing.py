"""Times two or more ways of doing the same in turns, and compares them turn by turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

OURS = "ours"
Way = Callable[[], float]
"""Does the work once and returns processor seconds per unit (an image, a query, a step)."""


def seconds(work: Callable[[], object], units: int = 1) -> float:
    """Return this process's processor seconds per unit of one call: other work on the machine matters less."""
    start = time.process_time()
    work()
    return (time.process_time() - start) / units


def in_turns(ways: Mapping[str, Way], turns: int, warm: int = 1) -> dict[str, list[float]]:
    """Return the seconds of each way by turn; each turn takes all ways in order, and ``warm`` turns are not counted."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(warm + turns):
        for name, way in ways.items():
            taken[name].append(way())
    return {name: found[warm:] for name, found in taken.items()}


def compared(taken: Mapping[str, list[float]], target: float | None = None, **facts: Any) -> dict[str, Any]:
    """Return medians, and how many times ours is as fast as each alternative: median, least and most over the turns.

    Args:
        taken: seconds per unit by turn; OURS and the alternatives, the issue's own first.
        target: least ratio to the first alternative.
        facts: what else the row tells.
    """
    ours = np.array(taken[OURS])
    ratios = {name: np.array(found) / ours for name, found in taken.items() if name != OURS}
    first = float(np.median(next(iter(ratios.values()))))
    return {
        "per_second": {name: float(1 / np.median(found)) for name, found in taken.items()},
        "seconds": {name: [float(one) for one in found] for name, found in taken.items()},
        "ratio": {
            name: {"median": float(np.median(r)), "least": float(r.min()), "most": float(r.max())}
            for name, r in ratios.items()
        },
        "target": target,
        "met": None if target is None else first >= target,
        **facts,
    }


@dataclass
class StepClock:
    """Notes the process's own seconds after every training step: a ``TrainEnv.progress``."""

    at: list[float] = field(default_factory=list)

    def __call__(self, _what: str, _done: int, _total: int) -> None:
        """Note the time."""
        self.at.append(time.process_time())

    def step(self, warm: int) -> float:
        """Return the median seconds of a step after the first ``warm``."""
        return float(np.median(np.diff(self.at)[max(0, warm - 1) :]))
