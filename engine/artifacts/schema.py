"""Declares what a table, a JSON object or an array of ours holds, and checks it on reading.

A reader raises one DataError line for a file that is absent, damaged or of other contents: it names the file, the column or
key, and the remedy. docs/stages.md is generated from these declarations.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from engine.artifacts.promises import read_array, require_room
from engine.artifacts.whole_files import whole_file
from engine.errors import DataError

REMEDY: Final = "rerun `hardcase run` to write it again"
"""What helps with a file of a run folder or of the stage cache."""

NAMES_OF_FILES: Final = frozenset({"image_id", "sample_id", "parent_image_id"})
"""Columns whose values become names of files."""

Kind = Literal["text", "integer", "number", "flag", "texts", "numbers"]
"""What one cell holds; ``texts`` and ``numbers`` are lists. A column of unknown values (null) fits every kind."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column; ``<dx>`` in a name stands for each class.

    ``since`` says when the column came, in the words of docs/stages.md; a table of before is read without it. ``only`` says
    which tables have it where not all do. "" both: every table has the column.
    """

    name: str
    kind: Kind
    meaning: str
    since: str = ""
    only: str = ""

    @property
    def required(self) -> bool:
        """Whether a table without the column is refused."""
        return not (self.since or self.only)

    @property
    def per_class(self) -> bool:
        """Whether it stands for one column per class."""
        return "<dx>" in self.name

    def covers(self, name: str) -> bool:
        """Return whether a column of a file is this one."""
        return name.startswith(self.name.removesuffix("<dx>")) if self.per_class else name == self.name


@dataclass(frozen=True, kw_only=True)
class TableSchema:
    """A parquet file: its name, the stages that write it, what a row is, its columns, what helps if it is damaged."""

    file: str
    stages: tuple[str, ...]
    row: str
    columns: tuple[Column, ...]
    remedy: str = REMEDY

    def path(self, folder: Path) -> Path:
        """Where the file lies in a folder that holds it."""
        return folder / self.file

    def present(self, folder: Path) -> bool:
        """Whether the folder holds the file, readable or not."""
        return self.path(folder).is_file()

    def read(self, folder: Path, columns: Collection[str] = ()) -> pd.DataFrame:
        """Return the table of a folder, rows numbered from 0; ``columns``: only these, and only these are checked.

        Raises:
            DataError: the file is absent or damaged, lacks a column, or a column is of another kind.
        """
        return self.read_file(self.path(folder), columns)

    def has(self, folder: Path, column: str) -> bool:
        """Return whether the table of a folder has a column; those that came later may be missing."""
        return column in pq.read_schema(self.path(folder)).names

    def read_file(self, path: Path, columns: Collection[str] = ()) -> pd.DataFrame:
        """Read a file of any name as ``read`` does."""
        if not path.is_file():
            raise DataError(f"{path}: is missing; {self.remedy}")
        try:
            # Opened once: pandas opens a path twice, and another process may have put a new file there in between.
            with pa.OSFile(str(path)) as file:
                about = pq.read_metadata(file)
                self._check(path, about.schema.to_arrow_schema(), columns, empty=about.num_rows == 0)
                require_room(about, len(columns) or about.num_columns)
                frame = pd.read_parquet(file, columns=list(columns) or None)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise DataError(f"{path}: is no readable parquet file ({_line(error)}); {self.remedy}") from None
        _refuse_paths(path, frame, self.remedy)
        return frame.reset_index(drop=True)

    def write(self, frame: pd.DataFrame, folder: Path) -> None:
        """Write a frame whose columns are the schema's, whole or not at all."""
        with whole_file(self.path(folder)) as partial:
            frame.to_parquet(partial, index=False)

    def write_arrow(self, table: pa.Table, folder: Path) -> None:
        """Write an arrow table (lists, fixed types) whole or not at all."""
        with whole_file(self.path(folder)) as partial:
            pq.write_table(table, partial)

    def _check(self, path: Path, found: pa.Schema, columns: Collection[str], *, empty: bool) -> None:
        """Raise DataError unless the columns are there and of their kinds, which a table without rows says nothing of."""
        names = [str(name) for name in found.names]
        wanted = columns or [c.name for c in self.columns if c.required and not c.per_class]
        absent = [name for name in wanted if name not in names]
        absent += [
            c.name for c in self.columns if c.per_class and not columns and not any(map(c.covers, names))
        ]
        if absent:
            raise DataError(f"{path}: lacks column {', '.join(absent)}; {self.remedy}")
        for name in names:
            declared = next((c for c in self.columns if c.covers(name)), None)
            if empty or declared is None or (columns and name not in columns):
                continue
            if not _fits(found.field(name).type, declared.kind):
                raise DataError(
                    f"{path}: column {name} holds {found.field(name).type}, not {declared.kind}; {self.remedy}"
                )


@dataclass(frozen=True, kw_only=True)
class ArraySchema:
    """A ``.npy`` file: its name, the stages that write it, its shape in words, its dtype."""

    file: str
    stages: tuple[str, ...]
    shape: str
    dtype: str
    meaning: str

    @property
    def axes(self) -> int:
        """Number of axes."""
        return self.shape.count(",") + (0 if self.shape.endswith(",)") else 1)

    def path(self, folder: Path) -> Path:
        """Where the file lies in a folder that holds it."""
        return folder / self.file

    def read(self, folder: Path, *, mapped: bool = False) -> npt.NDArray[Any]:
        """Return the array; ``mapped``: a read-only view of the file instead of a copy in memory.

        Raises:
            DataError: the file is absent or damaged, or of another dtype or number of axes.
        """
        return self.read_file(self.path(folder), mapped=mapped)

    def read_file(self, path: Path, *, mapped: bool = False) -> npt.NDArray[Any]:
        """Read a file of any name as ``read`` does."""
        if not path.is_file():
            raise DataError(f"{path}: is missing; {REMEDY}")
        try:
            array = read_array(path, mapped=mapped)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{path}: is no readable array ({_line(error)}); {REMEDY}") from None
        if array.dtype != np.dtype(self.dtype) or array.ndim != self.axes:
            raise DataError(
                f"{path}: holds {array.dtype} of shape {array.shape}, not {self.dtype} {self.shape}; {REMEDY}"
            )
        return array

    def write(self, array: npt.NDArray[Any], folder: Path) -> None:
        """Write the array as the declared dtype, whole or not at all."""
        with whole_file(self.path(folder)) as partial, partial.open("wb") as handle:
            np.save(handle, np.asarray(array, dtype=self.dtype), allow_pickle=False)


def _refuse_paths(path: Path, frame: pd.DataFrame, remedy: str) -> None:
    """Raise DataError where a name that files are named by could lead elsewhere: our own readers refuse such in data."""
    for column in NAMES_OF_FILES & set(frame.columns):
        odd = next((name for name in frame[column] if isinstance(name, str) and not _is_plain(name)), None)
        if odd is not None:
            raise DataError(f"{path}: {column} {odd[:60]!r} is no plain name; {remedy}")


def _is_plain(name: str) -> bool:
    return name not in (".", "..") and not any(sign in name for sign in "/\\\0")


def _line(error: BaseException) -> str:
    """Return an error's text as one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _text(kind: pa.DataType) -> bool:
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(
        pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_string_view(plain)
    )


def _number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


_CELLS: Final[dict[str, Callable[[pa.DataType], bool]]] = {
    "text": _text,
    "integer": pa.types.is_integer,
    "number": _number,
    "flag": pa.types.is_boolean,
}


def _fits(kind: pa.DataType, wanted: Kind) -> bool:
    """Return whether an arrow type holds cells of a kind; null, of an empty column, holds any."""
    if pa.types.is_null(kind):
        return True
    if wanted in ("texts", "numbers"):
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        return is_list and _fits(kind.value_type, "text" if wanted == "texts" else "number")
    return bool(_CELLS[wanted](kind))
