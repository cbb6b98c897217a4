"""Reads and writes the kept cells of one training set: one JSON file, or several where one would be too large.

A set's file holds ``{set, part, tables: {label: {cells, cases, command, ...}}, cases}``. Tables that were scored on the
same images keep these cases once, under ``cases``, and name them. A set that outgrows ``LARGEST`` continues in
``set_02_file_2.json`` and so on, in the same format: each has the tables, cells and cases that the files before it lack.
The first file gives the number of ``files``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.store.files import read_json, write_json

LARGEST = 1_400_000
"""Bytes of one file: 1.5 MB is the most that a result file may have."""


def read_set(path: Path) -> dict[str, Any]:
    """Read what ``write_set`` wrote, each table with the cases that it was scored on.

    Args:
        path: the set's first file.

    Raises:
        DataError: one of the set's files is absent or broken.
    """
    found: dict[str, Any] = read_json(path)
    kept = found.pop("cases", {})
    for number in range(2, found.pop("files", 1) + 1):
        more = read_json(_file(path, number))
        kept |= more["cases"]
        for label, table in more["tables"].items():
            known = found["tables"].setdefault(label, table)
            known["cells"] |= table["cells"]
    for table in found["tables"].values():
        if isinstance(table.get("cases"), str):
            table["cases"] = kept[table["cases"]]
    return found


def write_set(path: Path, found: Mapping[str, Any], largest: int = LARGEST) -> None:
    """Write a set's tables; cases that several of them share (settings tried on one set) are kept once.

    Args:
        path: the set's first file; the others lie beside it.
        found: ``{set, part, tables}`` as ``read_set`` returns it; each table has ``cells``.
        largest: bytes after which the next cell goes into another file.
    """
    files = _divided(found, largest)
    for number, content in reversed(
        list(enumerate(files, start=1))
    ):  # the first last: it names how many count
        counted = {"files": len(files)} if number == 1 < len(files) else {}
        facts = {name: value for name, value in found.items() if name != "tables"}
        write_json(_file(path, number), {**facts, **counted, **content})
    written = {_file(path, number) for number in range(1, len(files) + 1)}
    for left in set(path.parent.glob(f"{path.stem}_file_*.json")) - written:
        left.unlink()


def _file(path: Path, number: int) -> Path:
    return path if number == 1 else path.with_name(f"{path.stem}_file_{number}.json")


def _divided(found: Mapping[str, Any], largest: int) -> list[dict[str, Any]]:
    """Return ``{tables, cases}`` of each file: cells in order, a table's facts in the first of its files."""
    files: list[dict[str, Any]] = [{"tables": {}, "cases": {}}]
    size = 0

    def file_for(value: Any) -> dict[str, Any]:
        nonlocal size
        weight = len(json.dumps(value, indent=1))
        if size and size + weight > largest:
            files.append({"tables": {}, "cases": {}})
            size = 0
        size += weight
        return files[-1]

    kept: dict[str, Any] = {}
    for label, table in found["tables"].items():
        facts = {**table, "cells": {}}
        new: dict[str, Any] = {}
        if "cases" in table:
            facts["cases"] = next((n for n, cases in kept.items() if cases == table["cases"]), f"{len(kept)}")
            new = {} if facts["cases"] in kept else {facts["cases"]: table["cases"]}
            kept |= new
        file = file_for({**facts, **new})
        file["tables"][label] = facts
        file["cases"] |= new
        for name, cell in table["cells"].items():
            file_for(cell)["tables"].setdefault(label, {"cells": {}})["cells"][name] = cell
    return files
