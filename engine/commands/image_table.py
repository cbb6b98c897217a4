"""Writes exported images with the table beside them, ``metadata.parquet``, by which hardcase tells synthetic ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from engine.artifacts.whole_files import whole_file
from engine.commands.exported_run import ExportedRun
from engine.data.readers.exported import FILE_NAME, TABLE


def write_images(exported: ExportedRun, rows: Sequence[int], files: Sequence[str], folder: Path) -> None:
    """Write some images, by their rows, and the table of these rows into ``folder``; ``files`` are relative to it."""
    for row, file in zip(rows, files, strict=True):
        (folder / file).write_bytes(exported.png(row))
    table = exported.table.take(pa.array(rows, pa.int64()))
    table = table.add_column(0, FILE_NAME, pa.array(files, pa.string()))
    with whole_file(folder / TABLE) as partial:
        pq.write_table(table, partial)
