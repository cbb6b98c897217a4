"""Reads a table of answers that a person filled in: CSV or TSV, as text editors and spreadsheets save it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.artifacts.csv_text import unescaped
from engine.artifacts.plain_files import require_plain_file
from engine.errors import DataError

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "image_id": ("image_id", "image", "file", "filename", "file_name", "image_name"),
    "dx": ("dx", "label", "diagnosis", "class", "answer"),
    "reader": ("reader", "annotator", "rater"),
}
"""What each column may be called, in any case; the first that is there counts."""
SEPARATORS: Final = (",", ";", "\t")
_EXCEL: Final = re.compile(r'"?sep=(.)"?\s*$', re.IGNORECASE)
"""The first line in which Excel may name the separator."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of answers as it was written; ``where`` is its place in the file: ``line 3``."""

    where: str
    image: str
    dx: str
    reader: str = ""


def read_table(path: Path) -> list[Row]:
    """Return the rows of a table that are not blank.

    Columns are image_id, dx and reader (or other names of ``COLUMNS``); further ones, such as comment, are not read. They
    may be separated by commas, semicolons or tabs.

    Raises:
        DataError: the file cannot be read, is no UTF-8 text, lacks a column or names it twice, or a row has too many cells
            or a quote that is not closed.
    """
    text = _text(path)
    first, _, rest = text.partition("\n")
    named = _EXCEL.match(first.strip("\r"))
    skipped = 1 if named else 0
    body = rest if named else text
    separator = named[1] if named else _separator(body)
    rows = _rows(path, body, separator, skipped)
    _, header = next(rows, ("", []))
    column = _columns(path, header)
    found = []
    for where, cells in rows:
        if any(cells[len(header) :]):
            raise DataError(
                f"{path}, {where}: has {len(cells)} cells, the header {len(header)}; quote cells that hold {separator!r}"
            )
        filled = [*cells, *[""] * (len(header) - len(cells))]
        if any(filled):
            found.append(Row(where=where, **{name: filled[at] for name, at in column.items()}))
    return found


def _text(path: Path) -> str:
    try:
        require_plain_file(path)
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); give a CSV of answers"
        ) from None
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}, line {line}: is no UTF-8 text; save the table as CSV UTF-8 (Excel: file type `CSV UTF-8`)"
        ) from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise DataError(f"{path}, line {line}: holds a null character; save the table as CSV UTF-8")
    return text


def _separator(text: str) -> str:
    """Return the separator of which the header has most."""
    header = re.split(r"[\r\n]", text.lstrip("\r\n"), maxsplit=1)[0]
    return max(SEPARATORS, key=header.count)


def _rows(path: Path, text: str, separator: str, skipped: int) -> Iterator[tuple[str, list[str]]]:
    """Yield (where, cells) of each row that has cells, each without spaces around it, formulas as they were."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    while True:
        where = f"line {reader.line_num + 1 + skipped}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f'{path}, {where}: is no row of a table ({error}); close its quotes, or write "" for a quote in a cell'
            ) from None
        if cells:
            yield where, [unescaped(cell).strip() for cell in cells]


def _columns(path: Path, header: list[str]) -> dict[str, int]:
    """Return {field of Row: position of its column}."""
    names = [name.casefold() for name in header]
    found: dict[str, int] = {}
    for field, known in COLUMNS.items():
        name = next((name for name in known if name in names), None)
        if name is not None:
            if names.count(name) > 1:
                raise DataError(f"{path}, line 1: column {name} occurs twice; keep one")
            found["image" if field == "image_id" else field] = names.index(name)
        elif field != "reader":
            there = ", ".join(name[:40] for name in header[:12]) or "none"
            raise DataError(
                f"{path}, line 1: column {field} is missing; there are {there}; the columns are image_id, dx, reader"
            )
    return found
