"""Reads and writes ``fidelity.json``: how far a round's images, before any gate, are from real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from engine.artifacts.json_record import JsonRecord


class Fidelity(JsonRecord):
    """Figures overall and per class, each ``{value, low, high}`` beside counts: ``fidelity.json``."""

    FILE: ClassVar[str] = "fidelity.json"
    STAGES: ClassVar[tuple[str, ...]] = ("fidelity",)

    features: str = Field(description="what the figures look at, in words")
    n_synthetic: int = Field(0, description="images of the round")
    overall: dict[str, Any] | None = Field(
        None,
        description="kid, kid_unseen, fid, precision, recall, density, coverage, inception_score; null without images",
    )
    per_class: dict[str, dict[str, Any]] = Field(default_factory=dict, description="the same per class")


def read(folder: Path) -> Fidelity:
    """Read ``fidelity.json`` of a stage or of a run's round (DataError: absent, damaged, or a key is missing)."""
    return Fidelity.read(folder)


def write(found: Fidelity, folder: Path) -> None:
    """Write ``fidelity.json``."""
    found.write(folder)
