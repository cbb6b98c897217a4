"""Reads CSV and parquet tables as text, and refuses what is none or lies about itself."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from engine.artifacts.csv_text import unescaped
from engine.artifacts.own_output import is_own
from engine.artifacts.plain_files import require_plain_file
from engine.artifacts.promises import read_foreign_parquet
from engine.errors import DataError

EXCEL_SUFFIXES = (".xlsx", ".xls", ".xlsm", ".ods")
LONGEST_CELL = 10_000
"""Characters of the longest cell that is read; a longer one is no id, label or path."""
PACKED: Final = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
"""How packed files begin. They are not unpacked: a few kilobytes can hold gigabytes."""
UNKNOWN = ("", "na", "n/a", "nan", "none", "null", "unknown")


def read_rows(path: Path, *, rows: int | None = None, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a CSV (or .tsv, .parquet) table with every cell as stripped text, "" where empty.

    The table of a folder that hardcase exported is read as it was written: nothing stripped, formulas as they were.

    Args:
        path: the table.
        rows: read no more than the first so many of a CSV; None: all.
        names: columns of a CSV without a header line.

    Raises:
        DataError: the file cannot be read, is separated otherwise, has no rows, names a column twice, or a cell is odd.
    """
    try:
        require_plain_file(path)
        _refuse_other_kinds(path)
        frame = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path, rows, names)
    except DataError:
        raise
    except Exception as error:  # of pandas and Arrow, whatever the file holds
        said = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(
            f"{path}: cannot be read as a table ({' '.join(str(said).split())[:200]}); save it as UTF-8 CSV or parquet"
        ) from error
    frame.columns = [str(name).strip() for name in frame.columns]
    if not len(frame):
        raise DataError(f"{path}: has no rows; give a table with one row an image")
    if frame.columns.duplicated().any():
        raise DataError(
            f"{path}: column {frame.columns[frame.columns.duplicated()][0]} occurs twice; rename one"
        )
    clean = unescaped if is_own(path.parent) else str.strip
    cleaned: pd.DataFrame = frame.apply(lambda column: column.map(clean))
    _refuse_odd_cells(path, cleaned)
    return cleaned


def _read_csv(path: Path, rows: int | None, given: Sequence[str] | None) -> pd.DataFrame:
    """Read every cell as text, a column named twice included, which pandas would rename in silence."""
    separator = "\t" if path.suffix.lower() in (".tsv", ".tab") else ","
    options: dict[str, Any] = {"sep": separator, "dtype": str, "keep_default_na": False, "na_filter": False,
                               "encoding": "utf-8-sig", "compression": None}  # fmt: skip
    if given is not None:
        return pd.read_csv(path, header=None, names=list(given), nrows=rows, **options)
    names = pd.read_csv(path, header=None, nrows=1, **options).iloc[0].tolist()
    frame = pd.read_csv(path, nrows=rows, **options)
    if not isinstance(frame.index, pd.RangeIndex):
        raise ValueError(f"every row has more cells than the {len(names)} names of the header")
    frame.columns = names
    return frame


def _read_parquet(path: Path) -> pd.DataFrame:
    """Read every cell as text; bytes are decoded as UTF-8, and "" where empty."""
    frame = read_foreign_parquet(path, longest=4 * LONGEST_CELL).to_pandas()
    if any(isinstance(name, tuple) for name in frame.columns):
        raise ValueError("its columns have several levels of names")
    frame = frame.astype(object).where(frame.notna(), "")
    return frame.map(lambda cell: cell.decode() if isinstance(cell, bytes) else str(cell))


def _refuse_odd_cells(path: Path, frame: pd.DataFrame) -> None:
    """Raise DataError for a cell of thousands of characters (a quote that is never closed) and for a null character."""
    for name in frame.columns:
        for odd, what in (
            (
                frame[name].str.len() > LONGEST_CELL,
                f"more than {LONGEST_CELL:,} characters (is a quote not closed?)",
            ),
            (frame[name].str.contains("\0", regex=False), "a null character"),
        ):
            if odd.any():
                row = int(np.flatnonzero(odd)[0]) + 1
                raise DataError(f"{path}: column {name[:60]}, row {row} holds {what}; correct this row")


def _refuse_other_kinds(path: Path) -> None:
    """Raise DataError for a spreadsheet, and for a CSV whose header is separated by something else than a comma."""
    suffix = path.suffix.lower()
    if suffix in EXCEL_SUFFIXES:
        raise DataError(
            f"{path}: spreadsheets ({suffix}) are not read; save it as CSV UTF-8, separated by commas"
        )
    if suffix == ".parquet":
        return
    with path.open("rb") as handle:
        start = handle.read(8)
    packed = next((name for sign, name in PACKED.items() if start.startswith(sign)), None)
    if packed is not None:
        raise DataError(f"{path}: is packed ({packed}); unpack it and give the CSV itself")
    if suffix in (".tsv", ".tab"):
        return
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        header = lines.readline()
    other = next((sign for sign in (";", "\t", "|") if sign in header and "," not in header), None)
    if other is not None:
        decimal = ", decimal=','" if other == ";" else ""
        encoding = "" if _is_utf8(path) else ", encoding='latin-1'"
        raise DataError(
            f"{path}: is separated by {other!r}, not by commas; save it as UTF-8 with commas between the columns and points "
            f"in numbers (pandas: read_csv(FILE, sep={other!r}{decimal}{encoding}).to_csv(FILE, index=False))"
        )


def _is_utf8(path: Path) -> bool:
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    return True


def require_columns(path: Path, frame: pd.DataFrame, names: Sequence[str], remedy: str) -> None:
    """Raise DataError naming the columns of ``names`` that the table lacks."""
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise DataError(
            f"{path}: column {', '.join(missing)} is missing; the columns are {', '.join(frame.columns)}. {remedy}"
        )


def text_column(frame: pd.DataFrame, name: str | None) -> list[str]:
    """Return a column's text with the usual words for unknown as "" (all "" without such a column)."""
    if name is None or name not in frame.columns:
        return [""] * len(frame)
    return ["" if value.lower() in UNKNOWN else str(value) for value in frame[name]]


def columns_named(frame: pd.DataFrame, candidates: Sequence[str]) -> list[str]:
    """Return the columns that ``candidates`` name, in their order, however the columns are spelled (``spelled``)."""
    columns = {spelled(str(name)): str(name) for name in reversed(list(frame.columns))}
    return [columns[name] for name in candidates if name in columns]


def spelled(name: str) -> str:
    """Return a column's name in lower case, without accents, words joined by ``_``: ``Lesión ID`` is lesion_id."""
    plain = "".join(sign for sign in unicodedata.normalize("NFKD", name) if not unicodedata.combining(sign))
    return "_".join(re.split(r"[\s_-]+", plain.casefold().strip()))


def column_or_none(frame: pd.DataFrame, candidates: Sequence[str]) -> str | None:
    """Return the first of ``candidates`` the table has, whatever its case."""
    return next(iter(columns_named(frame, candidates)), None)
