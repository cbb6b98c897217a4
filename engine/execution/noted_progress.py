"""Notes the stages in progress in the run folder, so that `hardcase watch` can show them from another process."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from engine.artifacts import run_progress
from engine.artifacts.run_progress import RunProgress
from engine.execution.pace import Pace
from engine.store import Listener, StageFolder

EVERY_SECONDS: Final = 1.0


@dataclass
class NotedProgress:
    """A listener that passes everything on and writes ``progress.json``, at most once in EVERY_SECONDS.

    It tells of the stage that was heard of last, and names the others.
    """

    inner: Listener
    run: Path
    running: dict[str, tuple[Pace, float]] = field(default_factory=dict, init=False)
    """The pace of each running stage, by its key, and when it began, seconds since 1970."""
    said: float = field(default=0.0, init=False)

    def stage_started(self, name: str, key: str) -> None:
        """Note a stage that runs now."""
        self.running[key] = (Pace(name), time.time())
        self._note(key)
        self.inner.stage_started(name, key)

    def progress(self, key: str, what: str, done: int, total: int) -> None:
        """Note how far a stage is."""
        now, known = time.monotonic(), self.running.get(key)
        if known is not None:
            pace, _ = known
            pace.look(what, done, now)
            if now - self.said >= EVERY_SECONDS:
                left = pace.seconds_left(done, total, now)
                self._note(key, what=what, done=done, total=total, seconds_left=left)
        self.inner.progress(key, what, done, total)

    def stage_finished(self, folder: StageFolder) -> None:
        """Forget the stage."""
        self.running.pop(folder.key, None)
        if self.running:
            self._note(next(reversed(self.running)))
        else:
            self.close()
        self.inner.stage_finished(folder)

    def close(self) -> None:
        """Remove the note: nothing is in progress."""
        with contextlib.suppress(OSError):
            run_progress.forget(self.run)

    def _note(
        self, key: str, what: str = "", done: int = 0, total: int = 0, seconds_left: float | None = None
    ) -> None:
        self.said = time.monotonic()
        pace, began = self.running[key]
        note = RunProgress(
            stage=pace.name, what=what, done=done, total=total, seconds_left=seconds_left,
            beside=tuple(other.name for name, (other, _) in self.running.items() if name != key),
            began=began, at=time.time(),
        )  # fmt: skip
        with contextlib.suppress(OSError):  # a note that cannot be written is no reason to stop the work
            note.write(self.run)
