"""Reads and writes ``stages.json`` and ``stages.jsonl``: which stage folder plays which role in a run, and what it cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from engine.artifacts.json_record import json_value
from engine.artifacts.json_text import parse_json
from engine.artifacts.schema import REMEDY
from engine.artifacts.whole_files import write_text
from engine.errors import DataError
from engine.types import Cause, Failure

ROLES: Final = "stages.json"
LOG: Final = "stages.jsonl"
FAILED: Final = "failed"
AGAIN: Final = "remove it and rerun `hardcase run` to write it again"
"""A run reads its roles itself, so that a rerun alone does not help."""


@dataclass(frozen=True, kw_only=True)
class StageLine:
    """One line of ``stages.jsonl``: a stage folder that a run used; ``ran`` is false where the cache had it.

    ``failed`` holds the attempts that failed before; a line without any has no such key.
    """

    role: str
    stage: str
    key: str
    ran: bool
    seconds: float
    failed: tuple[Failure, ...] = ()

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> StageLine:
        """Return the line that a JSON object holds (KeyError, TypeError, ValueError: it is none)."""
        failed = tuple(
            Failure(cause=Cause(item["cause"]), said=str(item["said"]), seconds=float(item["seconds"]))
            for item in entry.get(FAILED, ())
        )
        return cls(**{f.name: entry[f.name] for f in fields(cls) if f.name != FAILED}, failed=failed)

    def to_json(self) -> dict[str, Any]:
        """Return the line's JSON object."""
        entry = asdict(self)
        return entry if self.failed else {k: v for k, v in entry.items() if k != FAILED}


def read(run: Path) -> dict[str, str]:
    """Return {role: ``<stage>-<key>``} of a run (DataError: absent or damaged)."""
    found = json_value(run / ROLES, AGAIN)
    if not isinstance(found, dict) or not all(
        isinstance(folder, str) and folder not in ("", ".", "..") and Path(folder).name == folder
        for folder in found.values()
    ):
        raise DataError(f"{run / ROLES}: holds no stages; {AGAIN}")
    return found


def read_if_written(run: Path) -> dict[str, str]:
    """Return the roles, none where the run has finished no stage (DataError: the file is damaged)."""
    return read(run) if (run / ROLES).is_file() else {}


def write(roles: Mapping[str, str], run: Path) -> None:
    """Write ``stages.json``."""
    write_text(run / ROLES, text(roles))


def text(roles: Mapping[str, str]) -> str:
    """Return the text of ``stages.json``."""
    return json.dumps(roles, indent=1, allow_nan=False) + "\n"


def read_log(run: Path) -> list[StageLine]:
    """Return the lines of ``stages.jsonl``; none where there is no file; a last line that a kill cut short is left out.

    Raises:
        DataError: another line is damaged; names its number.
    """
    path = run / LOG
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found.append(StageLine.of(parse_json(line)))
        except (ValueError, KeyError, TypeError, AttributeError):
            if number == len(lines) and not line.endswith("\n"):
                break
            raise DataError(f"{path}: line {number} is no stage; {REMEDY}") from None
    return found


def append(line: StageLine, run: Path) -> None:
    """Add one line to ``stages.jsonl``."""
    with (run / LOG).open("a", encoding="utf-8") as log:
        log.write(json.dumps(line.to_json()) + "\n")


def failed_attempts(run: Path) -> dict[str, list[Failure]]:
    """Return the attempts that failed in all processes of a run, by role; roles without any are left out.

    A damaged log gives none: it is a note of what happened, and no run ends for it.
    """
    found: dict[str, list[Failure]] = {}
    try:
        lines = read_log(run)
    except DataError:
        return {}
    for line in lines:
        if line.failed:
            found.setdefault(line.role, []).extend(line.failed)
    return found
