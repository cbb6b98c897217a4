"""Reads and writes ``calibration.json``: the temperature and the operating points that val fixed."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from engine.artifacts.json_record import JsonRecord


class Calibration(JsonRecord):
    """Probabilities are softmax(logits / temperature); malignant means malignant score >= threshold."""

    FILE: ClassVar[str] = "calibration.json"
    STAGES: ClassVar[tuple[str, ...]] = ("predict",)
    INDENT: ClassVar[int | None] = 2
    SORTED: ClassVar[bool] = True

    temperature: float = Field(description="divides the logits; 1 where val could fit none")
    malignant: tuple[str, ...] = Field(description="malignant classes among classes")
    threshold: float | None = Field(
        description="malignant from this score on; null without malignant or benign on val"
    )
    specificity: float = Field(description="specificity on val that the threshold was chosen for")
    classes: tuple[str, ...] = Field(description="class names, in the order of the logits")
    melanoma: str | None = Field(None, description="class with an operating point of its own; since 0.2")
    melanoma_threshold: float | None = Field(None, description="melanoma from this probability on; since 0.2")
    melanoma_sensitivity: float | None = Field(
        None, description="sensitivity on val that it was chosen for; since 0.2"
    )


def read(folder: Path) -> Calibration:
    """Read the calibration of a ``predict`` stage or a published (round, arm) (DataError: absent or broken)."""
    return Calibration.read(folder)


def write(calibration: Calibration, folder: Path) -> None:
    """Write ``calibration.json``."""
    calibration.write(folder)
