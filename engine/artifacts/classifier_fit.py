"""Reads and writes ``classifier.json``, and names ``classifier.safetensors``: one fit of the classifier."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Final

from pydantic import Field

from engine.artifacts.json_record import JsonRecord

WEIGHTS: Final = "classifier.safetensors"
"""Weights; their header rebuilds the model (``engine.classifier.weights``)."""


class FitFacts(JsonRecord):
    """How the fit went: ``classifier.json``."""

    FILE: ClassVar[str] = "classifier.json"
    STAGES: ClassVar[tuple[str, ...]] = ("classifier",)
    INDENT: ClassVar[int | None] = None
    SORTED: ClassVar[bool] = True
    NEWLINE: ClassVar[bool] = False

    losses: tuple[float, ...] = Field(description="training loss per step")
    optimizer_steps: int = Field(description="steps of this fit")
    n_rows: int = Field(description="rows of the pool")


def read(folder: Path) -> FitFacts:
    """Read ``classifier.json`` (DataError: absent, damaged, or a key is missing)."""
    return FitFacts.read(folder)


def write(facts: FitFacts, folder: Path) -> None:
    """Write ``classifier.json``."""
    facts.write(folder)
