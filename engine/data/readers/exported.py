"""Which files below a folder are synthetic, by the tables that ``hardcase export data`` writes beside images."""

from __future__ import annotations

from collections.abc import Iterable
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


def synthetic_files(folder: Path, images: Iterable[Path]) -> set[Path]:
    """Return the files that the tables of an export call synthetic, as absolute paths; none where nothing was exported.

    Args:
        folder: the export, or a folder of images in it.
        images: those found below it. Tables are looked for in their folders and above: nothing is listed a second time.

    Raises:
        DataError: a table cannot be read.
    """
    folder = folder.absolute()
    found = _of_ham10000(folder)
    for place in _places(folder, images):
        if (place / TABLE).is_file():
            found |= _of_table(place / TABLE)
    return found


def _places(folder: Path, images: Iterable[Path]) -> set[Path]:
    """Return the folders of the images up to ``folder``, and DEPTH above it."""
    holding = {path.absolute().parent for path in images}
    between = {
        place for inner in holding for place in (inner, *inner.parents) if place.is_relative_to(folder)
    }
    return {folder, *list(folder.parents)[:DEPTH], *between}


def _of_ham10000(folder: Path) -> set[Path]:
    home = folder if (folder / HAM10000).is_file() else folder.parent
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
