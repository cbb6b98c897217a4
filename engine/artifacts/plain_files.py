"""Refuses what is no ordinary file before it is opened: a pipe or a device waits for ever, or never ends."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def require_plain_file(path: Path, largest: int | None = None) -> None:
    """Return where ``path`` is an ordinary file of at most ``largest`` bytes.

    Raises:
        OSError: it is absent, a folder, a pipe, a socket or a device, or larger; ``strerror`` says which.
    """
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "a pipe, socket or device, not a file", str(path))
    if largest is not None and found.st_size > largest:
        raise OSError(errno.EFBIG, f"{found.st_size:,} bytes, more than {largest:,}", str(path))
