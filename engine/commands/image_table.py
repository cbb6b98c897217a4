"""Writes the table beside exported images, ``metadata.parquet``, by which hardcase tells synthetic ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from engine.artifacts.whole_files import whole_file
from engine.commands.exported_run import ExportedRun
from engine.data.readers.exported import FILE_NAME, TABLE


def write_table(exported: ExportedRun, rows: Sequence[int], files: Iterable[str], folder: Path) -> None:
    """Write the rows of some images into ``folder``; ``files`` are relative to it."""
    names = pa.array(list(files), pa.string())
    table = exported.table.take(pa.array(rows, pa.int64())).add_column(0, FILE_NAME, names)
    with whole_file(folder / TABLE) as partial:
        pq.write_table(table, partial)
