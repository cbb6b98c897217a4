"""What `hardcase init` recognised in a folder, before and after its reader has read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.data.readers.rows import EXCEL_SUFFIXES, read_rows
from engine.data.table import Source, known_groups, n_grouped

TABLES: Final = ("*.csv", "*.tsv", "*.parquet")
HEADER_ROWS: Final = 1
MOST_COLUMNS: Final = 12


@dataclass(frozen=True, kw_only=True)
class Found:
    """Keys for ``data``, what they were recognised by, and what a person should check about the choice."""

    data: dict[str, Any]
    why: str
    checks: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A recognised data set: keys for the config's ``data`` section, and what its reader found."""

    data: dict[str, Any]
    source: Source
    why: str
    checks: tuple[str, ...] = ()

    @property
    def grouped_by(self) -> str:
        """What splits will keep together: patient, lesion or image."""
        return known_groups(self.source.table)

    @property
    def n_grouped(self) -> int:
        """Number of images with a lesion or patient id."""
        return n_grouped(self.source.table)

    @property
    def n_lesions(self) -> int:
        """Number of lesions; of images where lesions are unknown."""
        table = self.source.table
        return len(np.unique(np.where(table.lesion_id == "", table.image_id, table.lesion_id)))

    @property
    def counts(self) -> dict[str, int]:
        """Images per class, as read (before ``data.map_labels``)."""
        names, counts = np.unique(self.source.table.dx, return_counts=True)
        return {str(name): int(count) for name, count in zip(names, counts, strict=True)}


def tables_beside(place: Path) -> str:
    """Return what tables lie in a folder, with their columns, for a message; "" where there is none."""
    said = []
    for path in matching(place, TABLES):
        columns = columns_of(path)
        few = ", ".join(columns[:MOST_COLUMNS]) + (", ..." if len(columns) > MOST_COLUMNS else "")
        said.append(f"{path.name} has columns {few}")
    sheets = matching(place, tuple(f"*{suffix}" for suffix in EXCEL_SUFFIXES))
    said += [f"{path.name} is a spreadsheet, which is read once saved as CSV" for path in sheets]
    return "".join(f"; {text}" for text in said)


def matching(place: Path, patterns: Sequence[str]) -> list[Path]:
    """Return what lies in a folder and matches a pattern, sorted; nothing where it is none."""
    if not place.is_dir():
        return []
    return sorted(
        {path for pattern in patterns for path in place.glob(pattern) if not path.name.startswith(".")}
    )


def siblings(folder: Path) -> list[Path]:
    """Return the folders that lie beside one, sorted."""
    return sorted(path for path in folder.parent.iterdir() if path.is_dir() and path != folder)


def columns_of(path: Path) -> list[str]:
    """Return the columns of a table, [] where a file is none by its name (DataError: it cannot be read)."""
    if path.suffix.lower() not in (".csv", ".tsv", ".tab", ".parquet", "", *EXCEL_SUFFIXES):
        return []
    return [str(name) for name in read_rows(path, rows=HEADER_ROWS).columns]
