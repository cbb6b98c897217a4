"""Writes an exported run in the layout of HAM10000: one CSV and a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pandas as pd

from engine.artifacts.csv_text import write_csv
from engine.commands.exported_run import ExportedRun
from engine.data.readers.exported import HAM10000

IMAGES: Final = "images"
FIRST: Final = (
    "lesion_id", "image_id", "dx", "age", "sex", "localization", "skin_type", "patient_id", "split", "origin", "synthetic",
    "round", "parent_image_id", "neighbour_ids", "weights", "seed", "judge_p", "nearest_train_id", "nearest_train_distance",
    "policy", "checkpoint",
)  # fmt: skip
"""The first columns of the CSV; what came later stands behind them."""
READING: Final = f"""Layout of HAM10000: `{HAM10000}` and `{IMAGES}/`.
Read it with `data.format=ham10000 data.root=THIS_FOLDER`. A cell that begins like a formula has a single quote
before it; hardcase takes it off when it reads this folder."""


def write(exported: ExportedRun, target: Path) -> None:
    """Fill ``target`` with images/ and HAM10000_metadata.csv."""
    (target / IMAGES).mkdir()
    for row, record in enumerate(exported.records):
        (target / IMAGES / f"{record['image_id']}.png").write_bytes(exported.png(row))
    names = exported.table.column_names
    columns = [*FIRST, *(name for name in names if name not in FIRST)]
    rows = [[_cell(record[name]) for name in columns] for record in exported.records]
    write_csv(pd.DataFrame(rows, columns=columns, dtype=object), target / HAM10000)


def _cell(value: Any) -> Any:
    """Return a cell's text: lists with a space between, flags in lower case."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return " ".join(map(str, value)) if isinstance(value, list) else value
