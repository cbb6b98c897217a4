"""Marks the folders hardcase writes, and recognises them, so that its own output is never read as data."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from engine.artifacts.json_text import parse_json
from engine.artifacts.whole_files import write_text

MARKER = ".hardcase.json"
MARK = "hardcase"
Kind = Literal["run", "stages", "export"]
NOTICE = "Synthetic skin-lesion images, made by hardcase."
"""How the notice of `hardcase synthesize` begins."""
TRACKING_FOLDERS = frozenset({"mlartifacts", "mlruns"})
RESOURCE_FORKS = "__MACOSX"
"""Where macOS puts its own half of every file into a zip."""
TRACKING_FILE = "mlflow.db"
"""What the tracking store leaves beside the output folder."""


def mark(folder: Path, kind: Kind) -> None:
    """Write the marker into an existing folder that hardcase fills; one that is there stays."""
    if not (folder / MARKER).exists():
        write_text(folder / MARKER, json.dumps({"made_by": MARK, "kind": kind}) + "\n")


def is_own(folder: Path) -> bool:
    """Return whether hardcase made a folder: by its marker, or by its files where an earlier version made it.

    A folder that may not be looked into is none of ours.
    """
    try:
        if _object(folder / MARKER).get("made_by") == MARK or folder.name in TRACKING_FOLDERS:
            return True
        return _is_old_run(folder) or _is_stage(folder) or _is_old_cache(folder) or _is_old_export(folder)
    except OSError:
        return False


def inner_folders(folder: Path) -> list[Path]:
    """Return the folders directly below one, sorted: no hidden ones, and none that hardcase made."""
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and path.name[0] not in "._" and not is_own(path)
    )


@dataclass
class Passed:
    """What ``below`` went past: hidden files (those in ``__MACOSX`` included), and pipes, sockets and devices."""

    hidden: list[Path] = field(default_factory=list)
    special: list[Path] = field(default_factory=list)


def below(root: Path, passed: Passed | None = None) -> Iterator[Path]:
    """Yield every plain file below ``root``: no hidden ones, and none in a folder that hardcase made.

    ``root`` itself may be one of those: an export that is asked for is read. Links are followed, also out of ``root``;
    linked folders are entered once. A link to nothing counts as a file, so that whoever reads it says that it is absent.

    Args:
        root: the folder.
        passed: gets what is left out.
    """
    passed = Passed() if passed is None else passed
    seen: set[str] = set()
    folders = [root]
    while folders:
        folder = folders.pop()
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        inner = []
        for entry in _entries(folder):
            path = folder / entry.name
            if _is(entry.is_dir):
                if not entry.name.startswith((".", "__")) and not is_own(path):
                    inner.append(path)
                elif entry.name == RESOURCE_FORKS:
                    passed.hidden += (
                        Path(place, name) for place, _, names in os.walk(path) for name in names
                    )
            elif entry.name.startswith("."):
                passed.hidden.append(path)
            elif not _is(entry.is_file) and path.exists():
                passed.special.append(path)
            elif not entry.name.startswith(TRACKING_FILE):
                yield path
        folders += sorted(inner, reverse=True)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:  # not ours to read
        return []


def _is(what: Callable[[], bool]) -> bool:
    """Whether a directory entry is one; a link that leads in a circle is neither file nor folder."""
    try:
        return what()
    except OSError:
        return False


def _is_old_run(folder: Path) -> bool:
    """A run or sweep folder: its config beside its stages, rounds or journal."""
    if not (folder / "config.yaml").is_file():
        return False
    return any((folder / name).exists() for name in ("stages.json", "journal.jsonl", "rounds/0000"))


def _is_stage(folder: Path) -> bool:
    return {"stage", "key", "files"} <= set(_object(folder / "stage.json"))


def _is_old_cache(folder: Path) -> bool:
    return folder.name == "stages" and any(_is_stage(path.parent) for path in folder.glob("*/stage.json"))


def _is_old_export(folder: Path) -> bool:
    """What `hardcase export data` or `hardcase synthesize` wrote: both say so in a text file."""
    for name, start in (("README.md", "# Exported by hardcase"), ("NOTICE.txt", NOTICE)):
        if not (folder / name).is_file():
            continue
        try:
            with (folder / name).open(encoding="utf-8") as lines:
                if lines.read(len(start)) == start:
                    return True
        except (OSError, ValueError):
            continue
    return False


def _object(path: Path) -> dict[str, object]:
    if not path.is_file():  # absent, or a pipe that no one writes to
        return {}
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
