"""Notes the stage in progress in the run folder, so that `hardcase watch` can show it from another process."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from engine.artifacts import run_progress
from engine.artifacts.run_progress import RunProgress
from engine.store import Listener, StageFolder

EVERY_SECONDS: Final = 1.0


@dataclass
class NotedProgress:
    """A listener that passes everything on and writes ``progress.json``, at most once in EVERY_SECONDS."""

    inner: Listener
    run: Path
    stage: str = field(default="", init=False)
    began: float = field(default=0.0, init=False)
    said: float = field(default=0.0, init=False)
    first: tuple[str, float, int] = field(default=("", 0.0, 0), init=False)

    def stage_started(self, name: str) -> None:
        """Note a stage that runs now."""
        self.stage, self.began, self.first = name, time.time(), ("", 0.0, 0)
        self._note()
        self.inner.stage_started(name)

    def progress(self, what: str, done: int, total: int) -> None:
        """Note how far it is; what was done before the first call (a resumed training) tells nothing about the speed."""
        now = time.monotonic()
        if what != self.first[0]:
            self.first = (what, now, done)
        if now - self.said >= EVERY_SECONDS:
            rate = (done - self.first[2]) / max(now - self.first[1], 1e-9)
            left = (total - done) / rate if rate > 0 else None
            self._note(what=what, done=done, total=total, seconds_left=left)
        self.inner.progress(what, done, total)

    def stage_finished(self, folder: StageFolder) -> None:
        """Forget the stage."""
        self.close()
        self.inner.stage_finished(folder)

    def close(self) -> None:
        """Remove the note: nothing is in progress."""
        with contextlib.suppress(OSError):
            run_progress.forget(self.run)

    def _note(self, what: str = "", done: int = 0, total: int = 0, seconds_left: float | None = None) -> None:
        self.said = time.monotonic()
        note = RunProgress(
            stage=self.stage, what=what, done=done, total=total, seconds_left=seconds_left,
            began=self.began, at=time.time(),
        )  # fmt: skip
        with contextlib.suppress(OSError):  # a note that cannot be written is no reason to stop the work
            note.write(self.run)
