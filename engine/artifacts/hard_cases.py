"""Reads and writes ``hard_cases.parquet``: the images per round mined, hardest first; it may hold no row."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from engine.artifacts.schema import Column, TableSchema
from engine.types import HardCases, StrArray, strings

FILE: Final = "hard_cases.parquet"
SCHEMA: Final = TableSchema(
    file=FILE,
    stages=("mine",),
    row="one hard case, hardest first",
    columns=(
        Column(name="image_id", kind="text", meaning="name of the mined image"),
        Column(name="dx", kind="text", meaning="its class"),
        Column(name="predicted", kind="text", meaning="the class the classifier gave it"),
        Column(name="score", kind="number", meaning="how hard the mining policy finds it; higher is harder"),
    ),
)


def read(folder: Path) -> HardCases:
    """Read the hard cases of a stage or of a run's round (DataError: absent, damaged, or a column is missing)."""
    frame = SCHEMA.read(folder)
    return HardCases(
        image_id=strings(frame["image_id"].tolist()),
        true=strings(frame["dx"].tolist()),
        predicted=strings(frame["predicted"].tolist()),
        score=frame["score"].to_numpy(dtype=np.float64),
    )


def read_ids(folder: Path) -> StrArray:
    """Return the image ids alone, hardest first (DataError as ``read``)."""
    return strings(SCHEMA.read(folder, ["image_id"])["image_id"].tolist())


def read_frame(folder: Path) -> pd.DataFrame:
    """Return the table itself, for pages and sheets (DataError as ``read``)."""
    return SCHEMA.read(folder)


def write(cases: HardCases, folder: Path) -> None:
    """Write the hard cases of a round."""
    texts = {"image_id": cases.image_id, "dx": cases.true, "predicted": cases.predicted}
    frame = pd.DataFrame({name: pd.Series(values.tolist(), dtype=str) for name, values in texts.items()})
    SCHEMA.write(frame.assign(score=np.asarray(cases.score, dtype=np.float64)), folder)
