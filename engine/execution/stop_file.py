"""A file by which the driver asks a training in another process for a checkpoint before it ends it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

LOOK_SECONDS = 0.3
"""A training looks for the file no more often: it may lie on another machine's disk."""


@dataclass
class StopFile:
    """The file of one attempt; driver and training make one each from the attempt's folder."""

    path: Path
    seen: bool = field(default=False, init=False)
    looked: float = field(default=0.0, init=False)

    @classmethod
    def of(cls, attempt: Path) -> StopFile:
        """Return the file beside an attempt's folder."""
        return cls(attempt.with_name(attempt.name + ".stop"))

    def asked(self) -> bool:
        """Return whether a checkpoint is due; the training asks after each step, and takes the file away at the next one."""
        if self.seen:
            self.path.unlink(missing_ok=True)
            self.seen = False
            return False
        now = time.monotonic()
        if now - self.looked < LOOK_SECONDS:
            return False
        self.looked = now
        self.seen = self.path.exists()
        return self.seen

    def ask(self, seconds: float, over: Callable[[], bool]) -> None:
        """Ask, and wait until the training has answered or is ``over``, no longer than ``seconds``."""
        self.path.touch()
        try:
            until = time.monotonic() + seconds
            while self.path.exists() and not over() and time.monotonic() < until:
                time.sleep(0.05)
        finally:
            self.path.unlink(missing_ok=True)
