"""Reads and writes ``features.npy`` and ``features.json``: what fidelity figures look at, of every real image in use.

Shape legend: N images, F feature width.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Final

from pydantic import Field

from engine.artifacts.json_record import JsonRecord
from engine.artifacts.schema import ArraySchema
from engine.types import FloatArray

FEATURES: Final = ArraySchema(
    file="features.npy",
    stages=("features",),
    shape="(N, F)",
    dtype="float32",
    meaning="features of the used images, in the order of split.parquet",
)


class FeatureFacts(JsonRecord):
    """Where the features come from: ``features.json``."""

    FILE: ClassVar[str] = "features.json"
    STAGES: ClassVar[tuple[str, ...]] = ("features",)

    name: str = Field(description="the network and its layer, in words")
    width: int = Field(description="entries of one image's features")


def read(folder: Path) -> FloatArray:
    """Return ``features.npy`` (N, F) float32 (DataError: absent or damaged)."""
    return FEATURES.read(folder)


def read_facts(folder: Path) -> FeatureFacts:
    """Read ``features.json`` (DataError: absent, damaged, or a key is missing)."""
    return FeatureFacts.read(folder)


def write(features_NF: FloatArray, facts: FeatureFacts, folder: Path) -> None:
    """Write both files."""
    FEATURES.write(features_NF, folder)
    facts.write(folder)
