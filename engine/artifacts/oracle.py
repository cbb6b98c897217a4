"""Reads and writes ``oracle.parquet``: the labels that ``data.split.hide_labels`` hides.

Stage ``split`` writes it. Nothing may read it but ``engine.labelling.oracle``, which answers as a reader would: an import
contract says so. Whatever is made with its answers is marked as simulated.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pandas as pd

from engine.artifacts.schema import Column, TableSchema

FILE: Final = "oracle.parquet"
SCHEMA: Final = TableSchema(
    file=FILE,
    stages=("split",),
    row="one image whose label is hidden",
    columns=(
        Column(name="image_id", kind="text", meaning="name of the image"),
        Column(name="dx", kind="text", meaning="its hidden class"),
    ),
)


def read(split: Path) -> dict[str, str]:
    """Return {image: hidden class} of a ``split`` stage; empty where it hides none (DataError: damaged)."""
    if not SCHEMA.present(split):
        return {}
    frame = SCHEMA.read(split)
    return dict(zip(frame["image_id"].tolist(), frame["dx"].tolist(), strict=True))


def write(hidden: Mapping[str, str], split: Path) -> None:
    """Write the hidden labels, sorted by image."""
    rows = sorted(hidden.items())
    names = [name for name, _ in rows]
    SCHEMA.write(pd.DataFrame({"image_id": names, "dx": [dx for _, dx in rows]}, dtype=str), split)
