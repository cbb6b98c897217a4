"""Reads and writes ``ids.parquet``, ``index.json``, ``fused.npy`` and ``levels.npy``: the embedded train images.

The FAISS files beside them (``fused.faiss``, ``level_<k>.faiss``) are opened by ``engine.retrieval.index``.

Shape legend: N train images, L levels, D width, F fused width.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

import pandas as pd
from pydantic import Field

from engine.artifacts.json_record import JsonRecord
from engine.artifacts.schema import ArraySchema, Column, TableSchema
from engine.types import FloatArray, StrArray, strings

FILE: Final = "ids.parquet"
FUSED_FAISS: Final = "fused.faiss"
LEVEL_FAISS: Final = "level_{level}.faiss"
SCHEMA: Final = TableSchema(
    file=FILE,
    stages=("index",),
    row="one train image, in the order of the arrays",
    columns=(
        Column(name="image_id", kind="text", meaning="name of the image"),
        Column(name="lesion_id", kind="text", meaning="lesion it shows"),
        Column(name="dx", kind="text", meaning="diagnosis: the class"),
    ),
)
FUSED: Final = ArraySchema(
    file="fused.npy",
    stages=("index",),
    shape="(N, F)",
    dtype="float32",
    meaning="fused embeddings as unit rows",
)
LEVELS: Final = ArraySchema(
    file="levels.npy",
    stages=("index",),
    shape="(N, L, D)",
    dtype="float32",
    meaning="embeddings per level, the lowest layer first",
)


@dataclass(frozen=True, kw_only=True)
class IndexIds:
    """The N train images of the index, in the order of its arrays."""

    image_id: StrArray
    lesion_id: StrArray
    dx: StrArray

    def __len__(self) -> int:
        return len(self.image_id)


class IndexFacts(JsonRecord):
    """How far apart train lesions are: ``index.json``."""

    FILE: ClassVar[str] = "index.json"
    STAGES: ClassVar[tuple[str, ...]] = ("index",)
    INDENT: ClassVar[int | None] = 2
    NAN: ClassVar[bool] = True

    n: int = Field(description="train images")
    quantiles: dict[str, float] = Field(
        description="per percentile: cosine distance of a train image to the nearest of another lesion"
    )

    @property
    def distance_quantiles(self) -> dict[int, float]:
        """``quantiles`` by percentile as a number."""
        return {int(percentile): value for percentile, value in self.quantiles.items()}


def read(folder: Path) -> IndexIds:
    """Read ``ids.parquet`` (DataError: absent, damaged, or a column is missing)."""
    frame = SCHEMA.read(folder)
    return IndexIds(**{name: strings(frame[name].tolist()) for name in ("image_id", "lesion_id", "dx")})


def read_fused(folder: Path) -> FloatArray:
    """Return ``fused.npy`` (N, F) float32, unit rows (DataError: absent or damaged)."""
    return FUSED.read(folder)


def read_levels(folder: Path) -> FloatArray:
    """Return ``levels.npy`` (N, L, D) float32 (DataError: absent or damaged)."""
    return LEVELS.read(folder)


def open_levels(folder: Path) -> FloatArray:
    """Return the same as a read-only memmap (DataError as ``read_levels``)."""
    return LEVELS.read(folder, mapped=True)


def write(ids: IndexIds, folder: Path) -> None:
    """Write ``ids.parquet``."""
    SCHEMA.write(
        pd.DataFrame({"image_id": ids.image_id, "lesion_id": ids.lesion_id, "dx": ids.dx}), folder
    )  # fmt: skip


def write_arrays(fused_NF: FloatArray, levels_NLD: FloatArray, folder: Path) -> None:
    """Write ``fused.npy`` and ``levels.npy``."""
    LEVELS.write(levels_NLD, folder)
    FUSED.write(fused_NF, folder)


def read_facts(folder: Path) -> IndexFacts:
    """Read ``index.json`` (DataError: absent, damaged, or a key is missing)."""
    return IndexFacts.read(folder)
