"""Reads and writes ``conditioning.parquet`` and ``levels.npy``: what each synthetic image of a round is made of.

Shape legend: S samples, L levels, D width, K neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from engine.artifacts.ragged import to_array, to_lists
from engine.artifacts.schema import REMEDY, ArraySchema, Column, TableSchema
from engine.errors import DataError
from engine.types import Conditioning, FloatArray, IntArray, StrArray, strings

FILE: Final = "conditioning.parquet"
COLUMNS: Final = (
    Column(name="sample_id", kind="text", meaning="name of the synthetic image"),
    Column(name="parent_image_id", kind="text", meaning="the image it is made from"),
    Column(name="dx", kind="text", meaning="its class: its parent's"),
    Column(name="neighbour_ids", kind="texts", meaning="images whose embeddings are mixed in; the parent may be one"),
    Column(name="weights", kind="numbers", meaning="their shares; they sum to 1"),
    Column(name="seed", kind="integer", meaning="seed of its noise"),
    Column(name="difficulty", kind="number", meaning="rank of its parent, 0: easiest, 1: hardest", since="0.3"),
)  # fmt: skip
SCHEMA: Final = TableSchema(
    file=FILE, stages=("condition",), row="one synthetic image to make", columns=COLUMNS
)
LEVELS: Final = ArraySchema(
    file="levels.npy",
    stages=("condition",),
    shape="(S, L, D)",
    dtype="float32",
    meaning="mixed embeddings, one per sample and level, in the order of conditioning.parquet",
)
ARROW: Final = pa.schema(
    [
        ("sample_id", pa.string()),
        ("parent_image_id", pa.string()),
        ("dx", pa.string()),
        ("neighbour_ids", pa.list_(pa.string())),
        ("weights", pa.list_(pa.float64())),
        ("seed", pa.int64()),
        ("difficulty", pa.float64()),
    ]
)
READ_BACK: Final = pa.schema(
    [
        pa.field(f.name, pa.list_(pa.field("element", f.type.value_type))) if pa.types.is_list(f.type) else f
        for f in ARROW
    ]
)
"""``ARROW`` as a parquet file gives it back: the entries of lists have another name, which a file made of it records."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """S samples of a conditioning without its embeddings, which a run's published copy does not hold."""

    sample_id: StrArray
    label_S: StrArray
    parent_image_id: StrArray
    neighbour_ids_SK: StrArray
    weights_SK: FloatArray
    seed_S: IntArray
    difficulty_S: FloatArray

    def __len__(self) -> int:
        return len(self.sample_id)

    def take(self, rows: npt.NDArray[Any]) -> Samples:
        """Return the given samples (integer or boolean index), in the order given."""
        return replace(self, **{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def read(folder: Path) -> Conditioning:
    """Read a conditioning with its embeddings; shorter lists are padded with "" and weight 0.

    Raises:
        DataError: a file is absent or damaged, lacks a column, or the two differ in length.
    """
    samples, levels_SLD = read_samples(folder), LEVELS.read(folder)
    if len(levels_SLD) != len(samples):
        raise DataError(
            f"{LEVELS.path(folder)}: holds {len(levels_SLD)} rows for {len(samples)} of {FILE}; {REMEDY}"
        )
    return Conditioning(
        levels_SLD=levels_SLD, **{f.name: getattr(samples, f.name) for f in fields(Samples)}
    )  # fmt: skip


def read_samples(folder: Path) -> Samples:
    """Read the samples of a stage or of a run's round (DataError: absent, damaged, or a column is missing)."""
    return samples_of(SCHEMA.read(folder))


def read_column(folder: Path, name: str) -> StrArray:
    """Return one text column: sample_id, parent_image_id or dx (DataError as ``read_samples``)."""
    return strings(SCHEMA.read(folder, [name])[name].tolist())


def read_levels(folder: Path) -> FloatArray:
    """Return ``levels.npy`` (S, L, D) float32 alone (DataError: absent or damaged)."""
    return LEVELS.read(folder)


def samples_of(frame: pd.DataFrame) -> Samples:
    """Return the samples that a table with conditioning's columns describes."""
    return Samples(
        sample_id=strings(frame["sample_id"].tolist()),
        label_S=strings(frame["dx"].tolist()),
        parent_image_id=strings(frame["parent_image_id"].tolist()),
        neighbour_ids_SK=to_array(frame["neighbour_ids"], "", np.str_),
        weights_SK=to_array(frame["weights"], 0.0, np.float64),
        seed_S=frame["seed"].to_numpy(dtype=np.int64),
        difficulty_S=_difficulty(frame),
    )


def _difficulty(frame: pd.DataFrame) -> FloatArray:
    """Return the column, 0.5 throughout where an older file lacks it."""
    if "difficulty" not in frame:
        return np.full(len(frame), 0.5)
    return np.asarray(frame["difficulty"].to_numpy(dtype=np.float64))


def write(conditioning: Conditioning, folder: Path) -> None:
    """Write conditioning.parquet (unused slots left out of its lists) and levels.npy."""
    SCHEMA.write_arrow(arrow_of(conditioning), folder)
    LEVELS.write(np.asarray(conditioning.levels_SLD), folder)


def take(conditioning: Conditioning, rows: npt.NDArray[Any]) -> Conditioning:
    """Return the given samples (integer or boolean index), in the order given."""
    return replace(
        conditioning, **{f.name: getattr(conditioning, f.name)[rows] for f in fields(conditioning)}
    )


def arrow_of(samples: Samples | Conditioning, schema: pa.Schema = ARROW) -> pa.Table:
    """Return the table of conditioning.parquet."""
    used_SK = samples.neighbour_ids_SK != ""
    rows: dict[str, Any] = {
        "sample_id": samples.sample_id.tolist(),
        "parent_image_id": samples.parent_image_id.tolist(),
        "dx": samples.label_S.tolist(),
        "neighbour_ids": to_lists(samples.neighbour_ids_SK, used_SK),
        "weights": to_lists(samples.weights_SK, used_SK),
        "seed": samples.seed_S.tolist(),
        "difficulty": np.asarray(samples.difficulty_S, dtype=np.float64).tolist(),
    }
    return pa.table(rows, schema=schema)
