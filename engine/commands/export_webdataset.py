"""Writes an exported run as tar shards of WebDataset: per image KEY.png, KEY.cls and KEY.json.

The convention is that of Aizman, Maltby and Breuel 2019, "High Performance I/O For Large Scale Deep Learning" (arXiv
2001.01858): a sample is the run of files that share a name up to the first dot.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

import numpy as np

from engine.artifacts.whole_files import write_text
from engine.commands.exported_run import ExportedRun

SHARD_BYTES: Final = 512 * 2**20
"""Most bytes of a shard, unless one image is larger."""
INDEX: Final = "dataset.json"
READING: Final = f"""Tar shards of WebDataset: `PART-000000.tar` and on, with KEY.png, KEY.cls (the class's
number) and KEY.json (all that is known of the image). `{INDEX}` lists classes, shards and counts. Train is shuffled, so that
shards can be read in order:

    webdataset.WebDataset("THIS_FOLDER/train-000000.tar").decode("pil").to_tuple("png", "cls", "json")"""


def write(exported: ExportedRun, target: Path, *, shard_bytes: int = SHARD_BYTES) -> None:
    """Fill ``target`` with shards of at most ``shard_bytes`` and dataset.json."""
    shards = {part: _write_part(exported, part, target, shard_bytes) for part in exported.parts()}
    tree = {**exported.facts(), "shards": shards}
    write_text(target / INDEX, json.dumps(tree, indent=1) + "\n")


def key_of(image_id: str) -> str:
    """Return an image's name as a key: without dots and slashes, another one for every name."""
    return quote(image_id, safe="").replace(".", "%2E")


class _Shards:
    """Fills one shard after the other; none grows beyond ``most`` bytes unless one image does."""

    def __init__(self, target: Path, part: str, most: int) -> None:
        self.target, self.part, self.most = target, part, most
        self.filled: list[dict[str, str | int]] = []
        self._archive: tarfile.TarFile | None = None
        self._size = self._count = 0

    def add(self, members: Sequence[tuple[str, bytes]]) -> None:
        """Add the files of one image."""
        entries = [(_entry(name, content), content) for name, content in members]
        wanted = sum(_stored(entry) for entry, _ in entries)
        if self._archive is None or self._size + wanted + tarfile.RECORDSIZE > self.most:
            self.close()
            path = self.target / self._name()
            self._archive = tarfile.open(path, "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115  (closed by ``close``)
        for entry, content in entries:
            self._archive.addfile(entry, io.BytesIO(content))
        self._size, self._count = self._size + wanted, self._count + 1

    def close(self) -> None:
        """End the shard that is being filled, if there is one."""
        if self._archive is not None:
            self._archive.close()
            self.filled.append({"file": self._name(), "images": self._count})
        self._archive, self._size, self._count = None, 0, 0

    def _name(self) -> str:
        return f"{self.part}-{len(self.filled):06d}.tar"


def _write_part(exported: ExportedRun, part: str, target: Path, most: int) -> list[dict[str, str | int]]:
    """Write the shards of one part; return the file and the images of each."""
    rows = np.array(exported.rows_of(part), dtype=np.int64)
    if part == "train":
        rows = np.random.default_rng(exported.folder.config.seed).permutation(rows)
    shards = _Shards(target, part, most)
    try:
        for row in rows.tolist():
            shards.add(_members(exported, row))
    finally:
        shards.close()
    return shards.filled


def _members(exported: ExportedRun, row: int) -> list[tuple[str, bytes]]:
    record = exported.records[row]
    key = key_of(record["image_id"])
    return [
        (f"{key}.png", exported.png(row)),
        (f"{key}.cls", str(exported.classes.index(record["dx"])).encode()),
        (f"{key}.json", json.dumps(record, allow_nan=False).encode()),
    ]


def _entry(name: str, content: bytes) -> tarfile.TarInfo:
    """Return a file's header; time and owner are zero, so that the same run gives the same bytes."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o644
    return entry


def _stored(entry: tarfile.TarInfo) -> int:
    """Return the bytes that a file takes in a tar: its headers, and its content in blocks."""
    blocks = -(-entry.size // tarfile.BLOCKSIZE)
    return len(entry.tobuf(tarfile.PAX_FORMAT)) + tarfile.BLOCKSIZE * blocks
