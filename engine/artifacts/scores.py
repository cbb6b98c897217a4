"""Reads and writes ``report.json`` of stage ``evaluate``: the figures of one (round, arm) on val and test."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from engine.artifacts.json_record import JsonRecord


class Scores(JsonRecord):
    """Figures of val and test, each ``{value, low, high}``: the stage's ``report.json``."""

    FILE: ClassVar[str] = "report.json"
    STAGES: ClassVar[tuple[str, ...]] = ("evaluate",)

    val: dict[str, Any] = Field(description="figures of val, which decide")
    test: dict[str, Any] = Field(
        description="figures of test, with subgroups, challenging and rest where known"
    )
    p_value_vs_round0: float | None = Field(
        description="paired test against round 0; null for round 0 itself"
    )
    seeds: dict[str, Any] | None = Field(
        None,
        description="with several predictions: per part and figure {mean, sd, values}, one value per seed; since 0.3",
    )


def read(folder: Path) -> Scores:
    """Read an ``evaluate`` stage's ``report.json`` (DataError: absent, damaged, or a key is missing)."""
    return Scores.read(folder)


def write(scores: Scores, folder: Path) -> None:
    """Write an ``evaluate`` stage's ``report.json``."""
    scores.write(folder)
