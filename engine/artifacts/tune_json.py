"""Reads and writes ``tune.json`` and ``trials.parquet``, and names ``best.yaml``: what a sweep leaves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import pandas as pd
from pydantic import Field

from engine.artifacts.json_record import JsonRecord
from engine.artifacts.schema import Column, TableSchema

SCHEMA_VERSION: Final = 1
BEST: Final = "best.yaml"
"""The best settings, as a config that `hardcase run` takes."""
SCHEMA: Final = TableSchema(
    file="trials.parquet",
    stages=(),
    row="one round of one trial; beside these columns one per tuned key (JSON) and one per figure of val",
    columns=(
        Column(name="trial", kind="integer", meaning="number of the trial"),
        Column(name="status", kind="text", meaning="how it ended"),
        Column(name="round", kind="number", meaning="the round; null where the trial reported none"),
        Column(name="value", kind="number", meaning="the figure of val that the sweep improves"),
        Column(name="seconds_run", kind="number", meaning="seconds of stages that the trial ran"),
        Column(name="seconds_found", kind="number", meaning="seconds of stages that it found in the cache"),
    ),
)


class TuneRecord(JsonRecord):
    """A sweep: ``tune.json``."""

    FILE: ClassVar[str] = "tune.json"

    schema_version: int = Field(SCHEMA_VERSION, description="version of this layout")
    name: str = Field("", description="name of the sweep")
    objective: dict[str, Any] = Field(
        default_factory=dict, description="part (val), metric, mode (min or max)"
    )
    tune: dict[str, Any] = Field(default_factory=dict, description="the config's section tune")
    search_space: dict[str, Any] = Field(default_factory=dict, description="choices per tuned key")
    best: dict[str, Any] | None = Field(
        None, description="trial, value and settings that val puts first; null where none finished"
    )
    seconds: dict[str, Any] = Field(
        default_factory=dict, description="of what trials share, and of all trials"
    )
    trials: tuple[dict[str, Any], ...] = Field(
        description="per trial: settings, status, reason, value, values and val by round, seconds, stages"
    )


def read(sweep: Path) -> TuneRecord:
    """Read ``tune.json`` (DataError: absent, damaged, or a key is missing)."""
    return TuneRecord.read(sweep)


def write(found: Mapping[str, Any], trials: pd.DataFrame, sweep: Path) -> None:
    """Write a sweep's object as ``tune.json`` and its rows as ``trials.parquet`` (DataError: a key is missing)."""
    TuneRecord.of(found, TuneRecord.path(sweep)).write(sweep)
    SCHEMA.write(trials, sweep)
