"""Reads and writes ``table.parquet``: what the data set says of every decoded image."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from engine.artifacts.schema import Column, TableSchema
from engine.types import LesionTable, StrArray, strings

FILE: Final = "table.parquet"
SCHEMA: Final = TableSchema(
    file=FILE,
    stages=("images",),
    row="one decoded image, in the order of images.npy and masks.npy; sorted by image_id",
    columns=(
        Column(name="image_id", kind="text", meaning="name of the image"),
        Column(name="lesion_id", kind="text", meaning="lesion it shows; several images may show one"),
        Column(name="patient_id", kind="text", meaning='patient; "" where unknown'),
        Column(name="dx", kind="text", meaning="diagnosis: the class"),
        Column(name="split", kind="text", meaning='the data set\'s own part, "" where it has none'),
        Column(name="origin", kind="text", meaning="real or synthetic"),
        Column(name="age", kind="number", meaning="age in years; NaN where unknown"),
        Column(name="sex", kind="text", meaning='"" where unknown'),
        Column(name="localization", kind="text", meaning='site on the body; "" where unknown'),
        Column(name="skin_type", kind="text", meaning="Fitzpatrick type as the data set writes it", since="0.2"),
        Column(name="path", kind="text", meaning='file of the image; "" where it has none'),
        Column(name="mask_path", kind="text", meaning='file of the lesion mask; "" where it has none'),
    ),
)  # fmt: skip


def read(folder: Path) -> LesionTable:
    """Read the table of an ``images`` stage; a column it lacks (an older run's) is unknown for every image.

    Raises:
        DataError: the file is absent, damaged, or lacks image_id, lesion_id, dx or age.
    """
    frame = SCHEMA.read(folder)
    frame = frame.assign(**{f.name: "" for f in fields(LesionTable) if f.name not in frame})
    texts: dict[str, Any] = {
        f.name: strings(frame[f.name].tolist()) for f in fields(LesionTable) if f.name != "age"
    }
    return LesionTable(**texts, age=frame["age"].to_numpy(dtype=np.float64))


def read_lesion_of(folder: Path) -> dict[str, str]:
    """Return {image_id: lesion_id} of every decoded image (DataError as ``read``)."""
    frame = SCHEMA.read(folder, ["image_id", "lesion_id"])
    ids: list[StrArray] = [strings(frame[name].tolist()) for name in ("image_id", "lesion_id")]
    return dict(zip(ids[0].tolist(), ids[1].tolist(), strict=True))


def write(table: LesionTable, folder: Path) -> None:
    """Write the table of an ``images`` stage."""
    SCHEMA.write(pd.DataFrame({f.name: getattr(table, f.name) for f in fields(LesionTable)}), folder)
