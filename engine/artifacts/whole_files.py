"""Files that are whole or absent: written beside their place, then renamed into it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.artifacts.full_disk import NO_SPACE
from engine.artifacts.secrets import masked


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


def write_text(path: Path, text: str) -> Path:
    """Write ``path`` whole or not at all, secrets of addresses masked; return it."""
    with whole_file(path) as partial:
        partial.write_text(masked(text), encoding="utf-8")
    return path
