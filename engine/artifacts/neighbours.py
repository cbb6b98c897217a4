"""Reads and writes ``neighbours.parquet``: the train images retrieved for each hard case.

Shape legend: M cases, K neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from engine.artifacts.ragged import to_array, to_lists
from engine.artifacts.schema import Column, TableSchema
from engine.types import FloatArray, StrArray, strings

FILE: Final = "neighbours.parquet"
SCHEMA: Final = TableSchema(
    file=FILE,
    stages=("condition",),
    row="one hard case",
    columns=(
        Column(name="image_id", kind="text", meaning="name of the hard case"),
        Column(name="dx", kind="text", meaning="its class"),
        Column(name="neighbour_ids", kind="texts", meaning="train images of its class, one per lesion, nearest first"),
        Column(name="similarity", kind="numbers", meaning="cosine similarity of their fused embeddings"),
    ),
)  # fmt: skip
ARROW: Final = pa.schema(
    [
        ("image_id", pa.string()),
        ("dx", pa.string()),
        ("neighbour_ids", pa.list_(pa.string())),
        ("similarity", pa.list_(pa.float32())),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """K neighbours of M cases, nearest first; where fewer exist: id "", similarity -inf."""

    image_id: StrArray
    dx: StrArray
    neighbour_ids_MK: StrArray
    similarity_MK: FloatArray

    def __len__(self) -> int:
        return len(self.image_id)

    def rows(self) -> Iterator[tuple[str, list[tuple[str, float]]]]:
        """Yield (image_id, [(neighbour, similarity), ...]) of each case, the neighbours that exist."""
        for image_id, ids, similarity in zip(
            self.image_id.tolist(), self.neighbour_ids_MK.tolist(), self.similarity_MK.tolist(), strict=True
        ):
            yield image_id, [(name, value) for name, value in zip(ids, similarity, strict=True) if name]


def read(folder: Path) -> Neighbours:
    """Read the neighbours of a stage or of a run's round (DataError: absent, damaged, or a column is missing)."""
    frame = SCHEMA.read(folder)
    return Neighbours(
        image_id=strings(frame["image_id"].tolist()),
        dx=strings(frame["dx"].tolist()),
        neighbour_ids_MK=to_array(frame["neighbour_ids"], "", np.str_),
        similarity_MK=to_array(frame["similarity"], -np.inf, np.float32),
    )


def read_ids(folder: Path) -> list[str]:
    """Return every neighbour's image id, case by case, repeats too (DataError as ``read``)."""
    frame = SCHEMA.read(folder, ["neighbour_ids"])
    return [str(name) for row in frame["neighbour_ids"] for name in row if name]


def write(neighbours: Neighbours, folder: Path) -> None:
    """Write the neighbours of a round's hard cases, those that exist."""
    exists_MK = neighbours.neighbour_ids_MK != ""
    rows: dict[str, Any] = {
        "image_id": neighbours.image_id.tolist(),
        "dx": neighbours.dx.tolist(),
        "neighbour_ids": to_lists(neighbours.neighbour_ids_MK, exists_MK),
        "similarity": to_lists(neighbours.similarity_MK, exists_MK),
    }
    SCHEMA.write_arrow(pa.table(rows, schema=ARROW), folder)
