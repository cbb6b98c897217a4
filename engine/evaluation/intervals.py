"""Whether an interval says anything, and what is written in its place where it does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from engine.artifacts.report_json import steps_of
from engine.evaluation.subgroups import FEWEST_LESIONS

SHARE: Final = (0.0, 1.0)
"""The ends of the scale of a share, an AUC or a calibration error: a figure there may be the end of its interval."""
DIFFERENCE: Final = (-1.0, 1.0)
_ROUNDING: Final = 1e-9


def holds(value: float, low: float, high: float, scale: tuple[float, float] = SHARE) -> bool:
    """Return whether an interval has a width and its figure inside, or at an end of the figure's own ``scale``."""
    if high - low <= _ROUNDING:
        return False
    inside_low = value > low + _ROUNDING or abs(value - scale[0]) <= _ROUNDING
    inside_high = value < high - _ROUNDING or abs(value - scale[1]) <= _ROUNDING
    return low - _ROUNDING <= value <= high + _ROUNDING and inside_low and inside_high


def no_interval(
    value: float,
    low: float,
    high: float,
    lesions: int | None = None,
    scale: tuple[float, float] = SHARE,
) -> str:
    """Return what stands in the place of an interval that says nothing, "" where it says something.

    A bootstrap of few lesions gives 0.0 to 0.0 for the one lesion of a class, and a calibration error at the end of its own
    interval: every draw repeats lesions, which looks like worse calibration.

    Args:
        value: the figure.
        low: lower end of its interval.
        high: upper end.
        lesions: how many it rests on; None: not known.
        scale: the least and the greatest value the figure can have.
    """
    if holds(value, low, high, scale):
        return ""
    if lesions is None:
        return "no interval"
    counted = f"{lesions} lesion{'' if lesions == 1 else 's'}"
    if high - low <= _ROUNDING and lesions >= FEWEST_LESIONS:
        return f"all {counted} alike"
    return f"too few: {counted}"


def lesions_behind(metrics: Mapping[str, Any], name: str) -> int | None:
    """Return how many lesions a figure of a metric object rests on; None where the report is older than these counts.

    A class's specificity rests on the lesions of the other classes, its sensitivity and AUC on its own.
    """
    *path, figure = steps_of(name)
    part: Any = metrics
    for step in path:
        part = part.get(step) or {}
    own, every = part.get("n_lesions"), metrics.get("n_lesions")
    if figure == "specificity" and path:
        return None if own is None or every is None else int(every) - int(own)
    return None if own is None else int(own)
