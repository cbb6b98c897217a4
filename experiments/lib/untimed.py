"""What two plays of one config have in common, whatever they took."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from engine.store import RunFolder
from engine.store.files import checksums

TIMED: Final = frozenset({"seconds", "foundation_seconds", "failed_attempts"})
"""Keys of report.json that differ between two plays."""


def untimed(value: Any) -> Any:
    """Return a report, or a part of one, without them."""
    if isinstance(value, dict):
        return {key: untimed(inner) for key, inner in value.items() if key not in TIMED}
    return [untimed(inner) for inner in value] if isinstance(value, list) else value


def results(run: Path) -> tuple[Any, dict[str, dict[str, str]]]:
    """Return a run's report.json without them, and the checksums of what every stage wrote."""
    folder = RunFolder.open(run)
    report = untimed(json.loads(folder.layout.report.read_text(encoding="utf-8")))
    files = {role: checksums(folder.stage(role).path) for role in folder.roles}
    return report, {role: {n: d for n, d in own.items() if n != "stage.json"} for role, own in files.items()}
