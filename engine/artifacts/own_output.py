"""Marks the folders hardcase writes, and recognises them, so that its own output is never read as data."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from engine.artifacts.whole_files import write_text

MARKER = ".hardcase.json"
MARK = "hardcase"
Kind = Literal["run", "stages", "export"]
NOTICE = "Synthetic skin-lesion images, made by hardcase."
"""How the notice of `hardcase synthesize` begins."""
TRACKING_FOLDERS = frozenset({"mlartifacts", "mlruns"})
TRACKING_FILE = "mlflow.db"
"""What the tracking store leaves beside the output folder."""


def mark(folder: Path, kind: Kind) -> None:
    """Write the marker into an existing folder that hardcase fills; one that is there stays."""
    if not (folder / MARKER).exists():
        write_text(folder / MARKER, json.dumps({"made_by": MARK, "kind": kind}) + "\n")


def is_own(folder: Path) -> bool:
    """Return whether hardcase made a folder: by its marker, or by its files where an earlier version made it."""
    if _object(folder / MARKER).get("made_by") == MARK or folder.name in TRACKING_FOLDERS:
        return True
    return _is_old_run(folder) or _is_stage(folder) or _is_old_cache(folder) or _is_old_export(folder)


def below(root: Path) -> Iterator[Path]:
    """Yield every file below ``root``: no hidden ones, and none in a folder that hardcase made.

    ``root`` itself may be one of those: an export that is asked for is read. Linked folders are entered once.
    """
    seen: set[str] = set()
    for place, inner, names in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            inner.clear()
            continue
        seen.add(real)
        folder = Path(place)
        inner[:] = sorted(n for n in inner if not n.startswith((".", "__")) and not is_own(folder / n))
        yield from (folder / n for n in names if not n.startswith(".") and not n.startswith(TRACKING_FILE))


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
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
