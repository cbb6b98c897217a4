"""The sweep's journal: every suggestion, report and decision, one JSON line each, so that a rerun repeats none."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.artifacts.json_text import parse_json
from engine.artifacts.run_layout import RunLayout
from engine.errors import ConfigError, DataError

FRESH = "give name=OTHER, the same values to go on with it, or --fresh to forget it (finished stages stay in the cache)"


@dataclass
class Journal:
    """``<sweep>/journal.jsonl``; the first line says what the sweep searches, the others what happened.

    Events: ``suggest`` {trial, settings}, ``report`` {trial, round, value, decision}, ``end`` {trial, status, reason}.
    """

    path: Path
    events: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def open(cls, folder: Path, identity: Mapping[str, Any]) -> Journal:
        """Open or begin the journal of a sweep; a line that a kill cut short is removed.

        Raises:
            ConfigError: it was made by another search; names what differs and the remedy.
            DataError: a line cannot be read.
        """
        journal = cls(RunLayout(folder).journal)
        lines = journal._whole_lines()
        if not lines:
            journal.append({"event": "sweep", **identity})
            journal.events = []
            return journal
        head, *journal.events = lines
        before = {key: value for key, value in head.items() if key != "event"}
        changed = [
            key for key in sorted(before.keys() | identity.keys()) if before.get(key) != identity.get(key)
        ]
        if changed:
            shown = ", ".join(
                f"{key} ({before.get(key)!r} there, {identity.get(key)!r} now)" for key in changed
            )
            raise ConfigError(f"{folder}: holds a sweep of another search: {shown}; {FRESH}")
        return journal

    def append(self, event: Mapping[str, Any]) -> None:
        """Add one line; it is on the disk when this returns."""
        line = json.dumps(event, allow_nan=False) + "\n"
        with self.path.open("a", encoding="utf-8") as log:
            log.write(line)
            log.flush()
            os.fsync(log.fileno())
        self.events.append(dict(event))

    def _whole_lines(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        text = self.path.read_bytes()
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            with self.path.open("r+b") as log:
                log.truncate(whole)
        try:
            return [parse_json(line) for line in text[:whole].decode("utf-8").splitlines()]
        except ValueError as error:
            raise DataError(f"{self.path}: cannot be read ({error}); {FRESH}") from None
