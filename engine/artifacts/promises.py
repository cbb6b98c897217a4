"""Compares what the headers of parquet and .npy files promise with what they hold, before anything is allocated for it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

MOST_CELLS: Final = 100_000_000
"""Cells of the largest table that is read: a few kilobytes of parquet can hold a thousand million equal ones."""
ROWS_AT_ONCE: Final = 1024


def array_header(handle: Any) -> tuple[int, np.dtype[Any]]:
    """Read the header of a .npy file; return the bytes it promises to follow, and the type of its values.

    Raises:
        ValueError: it is no such header.
    """
    try:
        first = np.lib.format.read_magic(handle) == (1, 0)  # format 3 has the header of 2, in UTF-8
        read_header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(handle)
    except Exception as error:  # numpy's parser raises those of tokenize and ast, too
        raise ValueError(" ".join(str(error).split())[:160] or type(error).__name__) from None
    return math.prod(shape) * dtype.itemsize, dtype


def read_array(path: Path, *, mapped: bool) -> npt.NDArray[Any]:
    """Return the array of a .npy file; ``mapped``: a read-only view of the file instead of a copy in memory.

    Raises:
        OSError, ValueError: it is none, holds Python objects, or has not the bytes it promises.
    """
    with path.open("rb") as handle:
        promised, dtype = array_header(handle)
        there = path.stat().st_size - handle.tell()
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which could run code and are never opened")
    if promised > there:
        raise ValueError(f"it promises {promised:,} bytes, the file has {there:,}")
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    return array


def require_room(about: pq.FileMetaData, columns: int) -> None:
    """Return where ``columns`` columns of a parquet file fit into this machine's memory, by what its footer promises.

    Raises:
        ValueError: it has more than MOST_CELLS cells, or more bytes than there is free memory.
    """
    if about.num_rows * columns > MOST_CELLS:
        raise ValueError(
            f"it promises {about.num_rows:,} rows of {columns} columns, more than {MOST_CELLS:,} cells"
        )
    needed = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
    free = int(psutil.virtual_memory().available)
    if needed > free:
        raise ValueError(f"it unpacks to {needed:,} bytes, more than the {free:,} of free memory")


def read_foreign_parquet(path: Path, longest: int) -> pa.Table:
    """Return a parquet table of other people's making, its texts as dictionaries (equal ones are held once).

    Raises:
        OSError, ValueError, pa.ArrowException: it is none, is too large, or has a text of more than ``longest`` bytes.
    """
    with pq.ParquetFile(path) as file:
        require_room(file.metadata, file.metadata.num_columns)
        schema = file.schema_arrow
    texts = [field.name for field in schema if field.type in (pa.string(), pa.binary())]
    batches = []
    with pq.ParquetFile(path, read_dictionary=texts) as file:
        for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                if not isinstance(column, pa.DictionaryArray):
                    continue
                size = pc.max(pc.binary_length(column.dictionary)).as_py() or 0
                if size > longest:
                    raise ValueError(
                        f"column {name[:60]} holds a text of {size:,} bytes, more than {longest:,}"
                    )
            batches.append(batch)
    return pa.Table.from_batches(batches).unify_dictionaries() if batches else schema.empty_table()
