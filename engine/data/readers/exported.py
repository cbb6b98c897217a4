"""Which files below a folder are synthetic, by the tables that ``hardcase export data`` writes beside images."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from engine.data.readers.rows import read_rows
from engine.errors import DataError

HAM10000: Final = "HAM10000_metadata.csv"
"""Table of an export in HAM10000's layout, above the folder ``images``."""
TABLE: Final = "metadata.parquet"
"""Table of the other layouts, in the folder that its paths are relative to; a name that Hugging Face reads too."""
FILE_NAME: Final = "file_name"
"""Column of TABLE: an image's file."""
DEPTH: Final = 2
"""Folders above the given one that may hold its TABLE: PART/CLASS lies one below."""


def synthetic_files(folder: Path) -> set[Path]:
    """Return the files in and below a folder that an export's table calls synthetic; none where nothing was exported.

    ``folder`` is the export, or a folder of images in it.

    Raises:
        DataError: a table cannot be read.
    """
    found = _of_ham10000(folder)
    above = [*folder.absolute().parents][:DEPTH]
    tables = [*folder.rglob(TABLE), *(place / TABLE for place in above)]
    for path in tables:
        if path.is_file():
            found |= _of_table(path)
    return found


def _of_ham10000(folder: Path) -> set[Path]:
    home = folder if (folder / HAM10000).is_file() else folder.absolute().parent
    images = home / "images" if home == folder else folder
    if not (home / HAM10000).is_file() or images.name != "images":
        return set()
    frame = read_rows(home / HAM10000)
    if not {"image_id", "origin", "synthetic"} <= set(frame.columns):
        return set()
    return {images / f"{name}.png" for name in frame["image_id"][frame["origin"] == "synthetic"]}


def _of_table(path: Path) -> set[Path]:
    wanted = [FILE_NAME, "origin", "synthetic"]
    try:
        if not set(wanted) <= set(pq.read_schema(path).names):
            return set()
        rows = pq.read_table(path, columns=wanted).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read ({error}); remove it or export again") from None
    return {path.parent / row[FILE_NAME] for row in rows if row["origin"] == "synthetic"}
