"""The figure a sweep improves: read from the val part of a round's report, from nowhere else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.artifacts.report_json import RoundEntry
from engine.errors import ConfigError
from engine.evaluation.figures import lower_is_better
from engine.evaluation.scoring import null_split


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A dotted figure of val, for example ``malignant.sensitivity_at_specificity_90``."""

    metric: str

    def __post_init__(self) -> None:
        """Refuse a figure that no report has (class names are not known yet: any may stand in per_class)."""
        known = sorted(_figures(null_split(("<dx>",))))
        parts = self.metric.split(".")
        generic = ".".join(["per_class", "<dx>", *parts[2:]] if parts[0] == "per_class" else parts)
        if generic not in known:
            raise ConfigError(f"tune.metric: val has no figure {self.metric!r}; known: {', '.join(known)}")

    @property
    def mode(self) -> str:
        """``min`` or ``max``."""
        return "min" if lower_is_better(self.metric) else "max"

    def of(self, entry: RoundEntry) -> float:
        """Return the figure of one (round, arm)'s val.

        Raises:
            ConfigError: val does not define it (no such class, no malignant lesion).
        """
        value = entry.figure("val", self.metric).value
        if value is None or not math.isfinite(value):
            raise ConfigError(
                f"tune.metric: {self.metric} is undefined on val in round {entry.round}; "
                "choose another figure, or enlarge data.split.val"
            )
        return float(value)

    def better(self, value: float) -> float:
        """Return a number that grows as the figure gets better."""
        return value if self.mode == "max" else -value


def _figures(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Every dotted name of an object of figures ({value, low, high}, or null in a split without images)."""
    for name, value in node.items():
        if isinstance(value, Mapping) and "value" in value:
            yield f"{prefix}{name}"
        elif isinstance(value, Mapping) and name != "confusion":
            yield from _figures(value, f"{prefix}{name}.")
