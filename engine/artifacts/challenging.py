"""Reads and writes ``challenging.parquet`` and ``challenging.json``: the test lesions that reference models get wrong.

Shape legend: N test images.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import pandas as pd
from pydantic import Field

from engine.artifacts.json_record import JsonRecord
from engine.artifacts.schema import Column, TableSchema
from engine.types import BoolArray, StrArray, strings

FILE: Final = "challenging.parquet"
SCHEMA: Final = TableSchema(
    file=FILE,
    stages=("challenging",),
    row="one test image",
    columns=(
        Column(name="image_id", kind="text", meaning="name of the image"),
        Column(name="lesion_id", kind="text", meaning="lesion it shows"),
        Column(name="dx", kind="text", meaning="diagnosis: the class"),
        Column(
            name="challenging", kind="flag", meaning="whether every reference model gets its lesion wrong"
        ),
    ),
)


@dataclass(frozen=True, kw_only=True)
class ChallengingImages:
    """N test images; ``challenging_N`` marks those whose lesion every reference model gets wrong."""

    image_id: StrArray
    lesion_id: StrArray
    dx: StrArray
    challenging_N: BoolArray

    @property
    def hard(self) -> frozenset[str]:
        """Image ids of challenging lesions."""
        return frozenset(self.image_id[self.challenging_N].tolist())

    @property
    def rest(self) -> frozenset[str]:
        """All other image ids."""
        return frozenset(self.image_id.tolist()) - self.hard


class ChallengingFacts(JsonRecord):
    """How many lesions are challenging: ``challenging.json``."""

    FILE: ClassVar[str] = "challenging.json"
    STAGES: ClassVar[tuple[str, ...]] = ("challenging",)

    models: int = Field(description="reference models")
    n_lesions: int = Field(description="test lesions")
    n_challenging: int = Field(description="those that every model gets wrong")


def read(folder: Path) -> ChallengingImages:
    """Read ``challenging.parquet`` (DataError: absent, damaged, or a column is missing)."""
    frame = SCHEMA.read(folder)
    return ChallengingImages(
        **{name: strings(frame[name].tolist()) for name in ("image_id", "lesion_id", "dx")},
        challenging_N=frame["challenging"].to_numpy(dtype=np.bool_),
    )


def write(images: ChallengingImages, facts: ChallengingFacts, folder: Path) -> None:
    """Write both files."""
    frame = pd.DataFrame(
        {
            "image_id": images.image_id,
            "lesion_id": images.lesion_id,
            "dx": images.dx,
            "challenging": images.challenging_N,
        }
    )
    SCHEMA.write(frame, folder)
    facts.write(folder)
