"""Recognises a disk that is full behind what libraries raise, and allocates memmaps so that it is an error and no signal."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.artifacts.causes import chain

NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT)
_SAYS_SO: Final = re.compile(
    r"no space left on device|disk quota exceeded|os error 28\b|errno 28\b|database or disk is full"
    r"|\d+ requested and \d+ written",
    re.IGNORECASE,
)
"""What safetensors, Arrow, SQLite and numpy say, whose errors carry no number."""


def no_space(error: BaseException) -> BaseException | None:
    """Return the error in a chain of causes that says the disk is full, None where none does."""
    for here in chain(error):
        if (isinstance(here, OSError) and here.errno in NO_SPACE) or _SAYS_SO.search(str(here)):
            return here
    return None


def place_of(error: BaseException) -> str | None:
    """Return the file an error names (of a copy the target, which is named second), None where it names none."""
    name = getattr(error, "filename2", None) or getattr(error, "filename", None)
    return os.fsdecode(name) if isinstance(name, str | bytes | os.PathLike) else None


def allocated_memmap(path: Path, dtype: Any, shape: tuple[int, ...]) -> Any:
    """Return a new .npy file as a writable memmap whose blocks are all reserved.

    A sparse one ends the process without a word (SIGBUS) when the disk fills while it is written.

    Raises:
        OSError: the disk has not that much room; names the file.
    """
    array = np.lib.format.open_memmap(path, "w+", np.dtype(dtype), shape)
    if not hasattr(os, "posix_fallocate"):
        return array
    with path.open("r+b") as handle:
        try:
            os.posix_fallocate(handle.fileno(), 0, max(1, path.stat().st_size))
        except OSError as error:
            if error.errno in NO_SPACE:
                raise OSError(error.errno, os.strerror(error.errno), str(path)) from None
    return array
