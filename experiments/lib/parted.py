"""A result with many arms in one file or several: a file of results may have 1.5 MB."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from engine.store.files import read_json, write_json

LARGEST: Final = 1_400_000
"""Bytes of a file's arms after which the next arm goes into another one."""
_PART: Final = ".part_"


def write_parted(path: Path, record: Mapping[str, Any], largest: int = LARGEST) -> None:
    """Write ``record``; arms that are too much for ``path`` go to ``<path>.part_2.json`` and so on, beside it.

    Args:
        path: ends with ``.json``.
        record: any result with ``arms``, in the order in which they are read again.
        largest: bytes.
    """
    files: list[dict[str, Any]] = [{}]
    room = largest - len(json.dumps({name: value for name, value in record.items() if name != "arms"}))
    for arm, value in record["arms"].items():
        size = len(json.dumps(value))
        if files[-1] and size > room:
            files.append({})
            room = largest
        files[-1][arm] = value
        room -= size
    for number, arms in enumerate(files[1:], start=2):
        write_json(_part(path, number), {"arms": arms})
    for stale in _parts(path)[len(files) - 1 :]:
        stale.unlink()
    more = {"files": len(files)} if len(files) > 1 else {}
    write_json(path, {**record, **more, "arms": files[0]})  # last: it says how many there are


def read_parted(path: Path) -> dict[str, Any]:
    """Return what ``write_parted`` was given (DataError: one of its files is absent or broken)."""
    found: dict[str, Any] = read_json(path)
    for number in range(2, found.pop("files", 1) + 1):
        found["arms"] |= read_json(_part(path, number))["arms"]
    return found


def divide(path: Path) -> None:
    """Write a result anew whose file is too large, as an engine wrote it that knew no parts."""
    if path.stat().st_size > LARGEST:
        write_parted(path, read_parted(path))


def first_files(folder: Path, pattern: str) -> list[Path]:
    """Return the first file of each result that matches, sorted."""
    return [path for path in sorted(folder.glob(pattern)) if _PART not in path.name]


def _part(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}{_PART}{number}.json")


def _parts(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.stem}{_PART}*.json"), key=lambda p: int(p.stem.rpartition("_")[2]))
