"""Where a command writes: a new folder that is whole or absent, and an output folder that lies inside the data."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

from engine.artifacts.own_output import mark
from engine.config import Config
from engine.config.places import is_url
from engine.errors import DataError


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a folder to fill that becomes ``path`` when the block ends well and vanishes when it does not.

    Raises:
        DataError: ``path`` exists and is not an empty folder, or cannot be made.
    """
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise DataError(f"--out: {path} exists and is not an empty folder; give a new one")
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise DataError(
            f"--out: {path} cannot be made ({error.strerror}); give a folder you may write"
        ) from None
    try:
        yield partial
        mark(partial, "export")
        if path.is_dir():
            path.rmdir()
        partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def say_output_inside_data(config: Config, console: Console) -> None:
    """Say in one line that the output lies inside ``data.root``: it is allowed, and never read as data."""
    if config.data.root is None or is_url(config.output):
        return
    root, output = Path(config.data.root).expanduser().resolve(), Path(config.output).resolve()
    if root.is_dir() and output.is_relative_to(root):
        line = (
            f"output: {output} lies inside data.root {root}; what hardcase writes there is not read as data"
        )
        console.print(Text(line, style="dim"), soft_wrap=True)


def writable_file(path: Path, option: str) -> Path:
    """Return ``path`` if a file can be made there.

    Raises:
        DataError: it is a folder, or its folder cannot be made or written; names the option.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        probe = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise DataError(f"{option}: {path} cannot be written ({error.strerror}); give another file") from None
    return path
