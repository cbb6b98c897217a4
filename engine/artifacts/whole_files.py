"""Files that are whole or absent: written beside their place, then renamed into it; what people wrote reaches the disk."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import filelock

from engine.artifacts.full_disk import NO_SPACE
from engine.artifacts.secrets import masked
from engine.errors import DataError

PATIENCE: Final = 30.0
"""Seconds that a writer waits for another one; each holds the lock for a moment."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path in the same folder to write to; it becomes ``path`` when the block ends well, else it vanishes.

    A reader of ``path``, also after ``kill -9``, sees the old file or the new one, never half of it. The folder is made
    where missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        if error.errno in NO_SPACE and error.filename is None:  # of a write: it names no file
            error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def only_writer(lock: Path, what: str) -> Iterator[None]:
    """Hold the lock of a file that several processes add to; ``what`` names its contents.

    Raises:
        DataError: another process holds it for longer than PATIENCE.
    """
    holder = filelock.FileLock(lock)
    try:
        holder.acquire(timeout=PATIENCE, poll_interval=0.01)
    except filelock.Timeout:
        raise DataError(
            f"{lock}: another process has held the {what} for {PATIENCE:g} s; try again"
        ) from None
    try:
        yield
    finally:
        holder.release()


@contextmanager
def synced_file(path: Path) -> Iterator[Path]:
    """Like ``whole_file``; file and rename are on the disk when the block has ended, not only with the system."""
    with whole_file(path) as partial:
        yield partial
        with partial.open("rb+") as handle:
            os.fsync(handle.fileno())
    if os.name != "posix":
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_text(path: Path, text: str) -> Path:
    """Write ``path`` whole or not at all, secrets of addresses masked; return it."""
    with whole_file(path) as partial:
        partial.write_text(masked(text), encoding="utf-8")
    return path
