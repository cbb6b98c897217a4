"""A digest of the files a data set is read from, so that the image cache follows the data, not its place."""

from __future__ import annotations

import hashlib
from pathlib import Path

from engine.config import DataConfig
from engine.data.readers_files import walk
from engine.errors import DataError


def fingerprint(config: DataConfig) -> str:
    """Hash relative name, size and modification time of every file the data is read from (a phantom has none).

    Raises:
        DataError: the root does not exist, or a file below it cannot be read.
    """
    if config.format == "phantom" or config.root is None:
        return ""
    root = Path(config.root).expanduser()
    if not root.exists():
        raise DataError(f"data.root: {root} does not exist; give data.root=FOLDER")
    whole_folder = root.is_dir() or config.format == "table"  # a table's images lie beside it
    folder = root if root.is_dir() else root.parent
    digest = hashlib.sha256()
    for path in walk(folder) if whole_folder else [root]:
        try:
            status = path.stat()
        except OSError as error:
            raise DataError(f"data.root: {path} cannot be read ({error.strerror})") from None
        name = path.relative_to(folder).as_posix()
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
