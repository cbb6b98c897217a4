"""Calls that a tracking server has not taken yet, kept as JSON lines in the run folder until it does."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock

from engine.artifacts.json_text import parse_json
from engine.artifacts.secrets import masked
from engine.artifacts.whole_files import only_writer
from engine.store import write_text

FOLDER = "tracking_outbox"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One call to send: its name, a key that a repeated call shares, and its arguments as plain JSON."""

    call: str
    key: str
    arguments: Mapping[str, Any]

    def line(self) -> str:
        """Return the entry as one line of JSON."""
        return json.dumps({"call": self.call, "key": self.key, "arguments": self.arguments}, allow_nan=False)


@dataclass
class Outbox:
    """``RUN/tracking_outbox/calls.jsonl``, oldest first; safe to use from several threads and processes.

    A run has one driver, but the sender of the last one may still be at work when the next begins. A call put twice
    under one key is kept once, as and where it was put last. ``rejected.jsonl`` beside it holds what a server that
    answered would not take, with its reason: sending that again would not help.
    """

    run_folder: Path
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    @property
    def folder(self) -> Path:
        """The outbox's folder; files that belong to a kept call (an exported model) lie in it too."""
        return self.run_folder / FOLDER

    def entries(self) -> list[Entry]:
        """Return what is still to be sent, oldest first; a line cut short by a kill is dropped."""
        path = self.folder / "calls.jsonl"
        with self._lock:
            try:
                lines = path.read_text(encoding="utf-8").splitlines()
            except FileNotFoundError:  # none is kept; another process may have sent the last one just now
                lines = []
        found = []
        for line in lines:
            with contextlib.suppress(ValueError, TypeError):
                entry = Entry(**parse_json(line))
                if (
                    isinstance(entry.call, str)
                    and isinstance(entry.key, str)
                    and isinstance(entry.arguments, dict)
                ):
                    found.append(entry)
        return found

    def put(self, entry: Entry, *, first: bool = False) -> None:
        """Keep a call, last of all (or ``first``: all others need it); one kept under the same key is dropped."""
        with self._only_writer():
            kept = [e for e in self.entries() if e.key != entry.key]
            self._write([entry, *kept] if first else [*kept, entry])

    def take(self, entry: Entry) -> None:
        """Drop a call that was sent; one put again meanwhile with other arguments stays."""
        with self._only_writer():
            self._write([e for e in self.entries() if e != entry])

    def reject(self, entry: Entry, reason: str) -> None:
        """Move a call that the server answered with a refusal to ``rejected.jsonl``."""
        self.folder.mkdir(parents=True, exist_ok=True)
        line = json.dumps({**parse_json(entry.line()), "reason": reason})
        with (self.folder / "rejected.jsonl").open("a", encoding="utf-8") as log:
            log.write(masked(line) + "\n")
        self.take(entry)

    @contextlib.contextmanager
    def sending(self) -> Iterator[bool]:
        """Hold the right to send what is kept; False where another sender has it, which sends what is put meanwhile, too."""
        lock = filelock.FileLock(self.run_folder / ".sender.lock")
        try:
            lock.acquire(timeout=0.0)
        except filelock.Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    @contextlib.contextmanager
    def _only_writer(self) -> Iterator[None]:
        with self._lock, only_writer(self.run_folder / ".outbox.lock", "kept calls"):
            yield

    def _write(self, entries: list[Entry]) -> None:
        if entries:
            write_text(self.folder / "calls.jsonl", "".join(f"{e.line()}\n" for e in entries))
            return
        (self.folder / "calls.jsonl").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()
