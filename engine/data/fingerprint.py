"""A digest of the files a data set is read from, so that the image cache follows the data, not its place."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from engine.artifacts.own_output import mark
from engine.artifacts.whole_files import write_text
from engine.config import DataConfig
from engine.data.readers.files import walk
from engine.errors import DataError

READERS = 8
"""Files read at a time: hashing is quick, disks are not."""


def fingerprint(config: DataConfig, notes: Path | None = None) -> str:
    """Hash relative name and content of every file the data is read from (a phantom has none).

    Args:
        config: what is read.
        notes: a folder in which the digest is noted under the names, sizes and modification times of the files, so that
            data that lies unchanged is read once; None: read them.

    Raises:
        DataError: the root does not exist, or a file below it cannot be read.
    """
    if config.format == "phantom" or config.root is None:
        return ""
    root = Path(config.root).expanduser()
    if not root.exists():
        raise DataError(f"data.root: {root} does not exist; give data.root=FOLDER")
    beside = config.format == "isic" or (config.format == "table" and config.images is None)
    folder = root if root.is_dir() else root.parent
    named = {"images": config.images, "unlabelled_images": config.unlabelled_images}
    further = {key: place for key, place in named.items() if place is not None}
    paths = walk(folder) if root.is_dir() or beside else [root]
    names = [path.relative_to(folder).as_posix() for path in paths]
    for key, beside_root in further.items():
        images = Path(beside_root).expanduser()
        if not images.is_dir():
            raise DataError(
                f"data.{key}: {images} is no folder; give the folder that the images lie in or below"
            )
        below = walk(images)
        paths = [*paths, *below]
        names = [*names, *(f"{key}:{path.relative_to(images).as_posix()}" for path in below)]
    if notes is None:
        return _digest(names, _each(_content, paths))
    places = "\0".join(str(Path(place).expanduser().resolve()) for place in (str(folder), *further.values()))
    seen = _digest([places, *names], ["", *_each(_state, paths)])
    note = notes / f"data-{seen}.txt"
    if note.exists():
        return note.read_text(encoding="utf-8").strip()
    found = _digest(names, _each(_content, paths))
    notes.mkdir(parents=True, exist_ok=True)
    mark(notes, "stages")
    write_text(note, found + "\n")
    return found


def _each(look: Callable[[Path], str], paths: list[Path]) -> Iterator[str]:
    with ThreadPoolExecutor(READERS) as pool:
        yield from pool.map(lambda path: _named(look, path), paths)


def _named(look: Callable[[Path], str], path: Path) -> str:
    try:
        return look(path)
    except OSError as error:
        raise DataError(f"data.root: {path} cannot be read ({error.strerror})") from None


def _content(path: Path) -> str:
    """Digest of a file's content; what cannot be read is the reader's business (``on_bad_image``) and told by its size."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        return "no plain file"
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except PermissionError:
        return f"not readable, {status.st_size}"


def _state(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def _digest(names: list[str], facts: Iterator[str] | list[str]) -> str:
    digest = hashlib.sha256()
    for name, fact in zip(names, facts, strict=True):
        digest.update(f"{name}\0{fact}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]
