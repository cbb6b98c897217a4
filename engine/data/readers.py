"""Reads any supported layout into one Source: ``data.format`` picks the reader."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from engine.config.schema import DataConfig
from engine.data.phantom import generate
from engine.data.readers_arrays import read_medmnist, read_torchvision
from engine.data.readers_dermoscopy import read_ham10000, read_isic
from engine.data.readers_files import IMAGE_SUFFIXES, walk
from engine.data.readers_general import read_folder, read_table_format
from engine.data.table import Source, prepare

READERS: Final[Mapping[str, Callable[[DataConfig], Source]]] = {
    "ham10000": read_ham10000,
    "isic": read_isic,
    "medmnist": read_medmnist,
    "folder": read_folder,
    "table": read_table_format,
    "torchvision": read_torchvision,
}
"""A reader turns a config into a Source; to add one, write it, name it here and in ``DataConfig.format``."""


def read(config: DataConfig, seed: int) -> Source:
    """Read the data set a config names, ready to decode: sorted by image_id, labels mapped, limited.

    Raises:
        DataError: anything in the data is missing, broken or inconsistent; names the file and the remedy.
    """
    source = read_phantom(config, seed) if config.format == "phantom" else READERS[config.format](config)
    return prepare(source, config, seed)


def read_phantom(config: DataConfig, seed: int) -> Source:
    """Draw the procedural data set with its exact masks."""
    table, images_NHWC, masks_NHW = generate(config.phantom, config.image_size, seed)
    return Source(
        table=table,
        where="data.phantom",
        labels=table.classes,
        frames=tuple(images_NHWC),
        masks=tuple(masks_NHW),
    )


def fingerprint(config: DataConfig) -> str:
    """Return a digest that changes when files of the data set do, without decoding any image.

    Tables count by content, images and archives by path below root, size and time of change. "" for phantoms and
    for a root that does not exist (reading it will say so).
    """
    root = Path(str(config.root)).expanduser().absolute() if config.root else None
    if root is None or not root.exists():
        return ""
    digest = hashlib.sha256()
    if root.is_file():
        root, paths = (
            root.parent,
            [p for p in walk(root.parent) if p == root or p.suffix.lower() in IMAGE_SUFFIXES],
        )
    else:
        paths = walk(root)
    for path in paths:
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        if path.suffix.lower() in (".csv", ".tsv", ".tab", ".txt"):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        else:
            status = path.stat()
            digest.update(f"{status.st_size}/{status.st_mtime_ns}".encode())
    return digest.hexdigest()
