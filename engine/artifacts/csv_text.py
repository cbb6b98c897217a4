"""Writes CSV whose cells no spreadsheet runs as a formula, and undoes that in files of ours that are read back.

A text cell that begins with = + - @ (or the same in full width), tab, CR or LF gets a single quote before it (OWASP,
"CSV Injection"), and so does a cell that begins with single quotes and then one of those: ``unescaped(escaped(x)) == x``
for every text. Numbers stay as they are, also those written as text (-0.5).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from engine.artifacts.whole_files import whole_file

_FORMULA: Final = re.compile(r"'*[=+\-@\uff1d\uff0b\uff0d\uff20\t\r\n]")
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def escaped(cell: str) -> str:
    """Return a cell's text as it is written."""
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


def unescaped(cell: str) -> str:
    """Return the text that ``escaped`` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return columns and rows as CSV with ``\\n`` at line ends; None and NaN are empty cells."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")  # so that cells with either are quoted
    for row in (columns, *rows):
        writer.writerow([_cell(value) for value in row])
        _end_with_newline(buffer)
    return buffer.getvalue()


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a table without its index, whole or not at all (OSError where the file cannot be written)."""
    columns = [frame[name].tolist() for name in frame]
    with whole_file(path) as partial:
        partial.write_text(
            csv_text(list(frame.columns), zip(*columns, strict=True)), encoding="utf-8", newline=""
        )


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return escaped(value)
    return "" if pd.isna(value) else value


def _end_with_newline(buffer: io.StringIO) -> None:
    buffer.seek(buffer.tell() - 2)
    buffer.truncate()
    buffer.write("\n")
