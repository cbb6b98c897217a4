"""A digest of the files a data set is read from, so that the image cache follows the data, not its place."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from engine.config import DataConfig
from engine.errors import DataError


def fingerprint(config: DataConfig) -> str:
    """Hash relative name, size and modification time of every file below ``data.root`` (a phantom has none).

    Raises:
        DataError: the root does not exist or cannot be listed.
    """
    if config.format == "phantom" or config.root is None:
        return ""
    root = Path(config.root).expanduser()
    if not root.exists():
        raise DataError(f"data.root: {root} does not exist; give data.root=FOLDER")
    files = [root] if root.is_file() else _below(root)
    digest = hashlib.sha256()
    for path in files:
        status = path.stat()
        name = path.name if path == root else path.relative_to(root).as_posix()
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _below(root: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise DataError(f"data.root: {error.filename} cannot be listed ({error.strerror})")

    found = [Path(folder) / name for folder, _, names in os.walk(root, onerror=refuse) for name in names]
    return sorted(found)
