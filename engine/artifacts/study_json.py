"""Reads and writes ``study.json``, and names ``study.html`` beside it: several runs compared as one study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

from pydantic import Field

from engine.artifacts.json_record import JsonRecord
from engine.artifacts.report_json import PROTOCOL

PAGE: Final = "study.html"
SCHEMA_VERSION: Final = 1


class StudyRecord(JsonRecord):
    """A study: ``study.json``."""

    FILE: ClassVar[str] = "study.json"

    schema_version: int = Field(description="version of this layout")
    answer: dict[str, Any] = Field(description="sentence, verdict and reason")
    protocol: str = Field(description=PROTOCOL)
    design: dict[str, Any] = Field(
        description="kind, unit, number of replicates, lesions, objection; since 0.3 the largest correlation of folds that "
        "lesions in common can bring, and the one that their t interval takes"
    )
    endpoints: dict[str, Any] = Field(
        description="malignant classes, melanoma, their operating points, and the planned figures"
    )
    simulated_labels: bool = Field(
        False, description="SIMULATED LABELS: an oracle answered in a run; since 0.3"
    )
    draws: int = Field(description="bootstrap draws")
    runs: tuple[dict[str, Any], ...] = Field(description="one object per run, in the order given")
    arms: dict[str, Any] = Field(description="per arm and figure: mean and the values of the replicates")
    contrasts: tuple[dict[str, Any], ...] = Field(description="hard minus one arm in one figure")
    untested: tuple[str, ...] = Field(
        (), description="arms that trained on the same images as hard in every run: no contrast; since 0.2"
    )


def read(folder: Path) -> StudyRecord:
    """Read ``study.json`` (DataError: absent, damaged, or a key is missing)."""
    return StudyRecord.read(folder)


def write(found: Mapping[str, Any], folder: Path) -> Path:
    """Write a study's object as ``study.json``; return the file (DataError: a key is missing)."""
    path = StudyRecord.path(folder)
    StudyRecord.of(found, path).write(folder)
    return path
