"""Trusts no file of a checkpoint folder: seals what is written, and sets aside what is damaged or foreign.

A file that cannot be used is renamed, never deleted. The line about it goes to the log, and to ``NOTE`` in the same
folder, where the driver finds it when the training ran in another process.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from engine.artifacts.digests import checksum
from engine.artifacts.json_text import parse_json
from engine.artifacts.secrets import masking_logger
from engine.artifacts.whole_files import write_text

LOG = masking_logger("hardcase.checkpoints")
NOTE = "set_aside.txt"
SUFFIX = ".damaged"


def set_aside(path: Path, why: str, then: str) -> None:
    """Rename ``path`` to ``<name>.damaged`` and say why in one line; ``then`` says what happens instead.

    Several workers of one training find the same file: who comes second finds it gone, which is as good.
    """
    aside = path.with_name(path.name + SUFFIX)
    with contextlib.suppress(FileNotFoundError):
        path.replace(aside)
        line = f"{path}: {why}; set aside as {aside.name}; {then}"
        LOG.warning("%s", line)
        with (path.parent / NOTE).open("a", encoding="utf-8") as note:
            note.write(line + "\n")


def said_in(folder: Path) -> list[str]:
    """Return the lines that were said about files below ``folder``."""
    notes = sorted(folder.rglob(NOTE)) if folder.is_dir() else []
    return [line for note in notes for line in note.read_text(encoding="utf-8").splitlines()]


def seal(path: Path, identity: str) -> None:
    """Write the checksum of a finished file beside it; ``identity`` names what the file was made by."""
    write_text(_seal_of(path), json.dumps({"sha256": checksum(path), "identity": identity}))


def is_sealed(path: Path, identity: str, then: str) -> bool:
    """Return whether a file is whole and made by ``identity``; one that is not is set aside.

    A file without a seal was being written when its process died: it is not used, and nothing is said.
    """
    if not path.exists() or not _seal_of(path).exists():
        return False
    try:
        kept = parse_json(_seal_of(path).read_text(encoding="utf-8"))
        digest, made_by = kept["sha256"], kept["identity"]
    except (OSError, ValueError, TypeError, KeyError):
        digest, made_by = "", identity
    if digest == checksum(path) and made_by == identity:
        return True
    why = "is damaged (its checksum differs)" if made_by == identity else "was made by another plan or model"
    set_aside(path, why, then)
    _seal_of(path).unlink(missing_ok=True)
    return False


def _seal_of(path: Path) -> Path:
    return path.with_name(path.name + ".seal.json")
