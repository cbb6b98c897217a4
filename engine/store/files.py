"""JSON, copies and checksums of the store's files; whatever is written is whole or absent."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from engine.artifacts.digests import checksum
from engine.artifacts.json_text import parse_json
from engine.artifacts.own_output import MARKER
from engine.artifacts.plain_files import require_plain_file
from engine.artifacts.secrets import masked
from engine.artifacts.whole_files import whole_file, write_text
from engine.config.places import is_url, url_problem
from engine.errors import ConfigError, DataError


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically; NaN is refused (undefined figures are null)."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Return JSON as we write it; NaN is refused (ValueError)."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Read JSON that hardcase wrote; DataError names the file and the remedy when it is absent or broken."""
    try:
        require_plain_file(path)
        return parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read as JSON ({error}); remove it and rerun the command that writes it (`hardcase run` "
            "for a run folder and its stages)"
        ) from None


def copy_file(source: Path, target: Path) -> None:
    """Copy ``source`` over ``target`` atomically."""
    with whole_file(target) as partial:
        shutil.copyfile(source, partial)


def copy_folder(source: Path, target: Path) -> None:
    """Replace folder ``target`` by a copy of ``source``; half written and hidden files of a writer beside it are left out.

    A reader of the target finds the one or the other, but for the moment between two renames.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    mine = uuid.uuid4().hex[:8]
    partial, before = (
        target.with_name(f".{target.name}.{mine}"),
        target.with_name(f".{target.name}.{mine}.old"),
    )
    try:
        shutil.copytree(source, partial, ignore=_hidden)
        if target.exists():
            target.rename(before)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(before, ignore_errors=True)


def _hidden(_folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name.startswith(".") and name != MARKER}


def checksums(folder: Path) -> dict[str, str]:
    """Return {relative path: SHA-256} of every file below ``folder``, sorted."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): checksum(p) for p in files}


def check_output(output: str) -> None:
    """Refuse a URL as output at which no run can lie (ConfigError)."""
    if is_url(output) and (problem := url_problem(output)):
        raise ConfigError(f"output: {masked(output)} {problem}")


def ensure_writable(folder: Path, key: str = "output") -> None:
    """Make ``folder`` and prove that a file can be written there; ``key`` names the config key to change.

    Raises:
        DataError: it cannot; names the folder and the reason.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise DataError(
            f"{key}: {folder} is not writable ({error.strerror}); give {key}=FOLDER that you may write to"
        ) from None
