"""Reads and writes ``checksums.json``: what the files of a run folder are held against when they are read."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Final

from pydantic import Field

from engine.artifacts.json_record import JsonRecord

FILE: Final = "checksums.json"


class Checksums(JsonRecord):
    """The checksums of a run folder's files: ``checksums.json``."""

    FILE: ClassVar[str] = FILE

    files: dict[str, tuple[str, ...]] = Field(
        description="file to its sha256, and the one before while it is being replaced"
    )


def read_if_written(run: Path) -> dict[str, tuple[str, ...]]:
    """Return {file: checksums}, none in a run folder of an earlier version (DataError: the file is damaged)."""
    return Checksums.read(run).files if Checksums.present(run) else {}


def write(files: dict[str, tuple[str, ...]], run: Path) -> None:
    """Write ``checksums.json``, sorted by file."""
    Checksums(files=dict(sorted(files.items()))).write(run)
