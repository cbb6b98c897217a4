"""Progress of a stage that runs in another process: a small file it rewrites and the driver polls."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from engine.artifacts.json_text import parse_json
from engine.artifacts.whole_files import write_text

EVERY_SECONDS = 0.4


@dataclass
class ProgressFile:
    """Callable like a Progress; writes at most every EVERY_SECONDS, and always the last step."""

    path: Path
    said: float = field(default=0.0, compare=False)

    def __call__(self, what: str, done: int, total: int) -> None:
        """Note how far the work is."""
        now = time.monotonic()
        if now - self.said < EVERY_SECONDS and done < total:
            return
        self.said = now
        with contextlib.suppress(OSError):  # a note that cannot be written is no reason to stop the work
            write_text(self.path, json.dumps([what, done, total]))

    def read(self) -> tuple[str, int, int] | None:
        """Return the latest note, None where there is none yet."""
        try:
            what, done, total = parse_json(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return str(what), int(done), int(total)
