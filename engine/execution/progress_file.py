"""Progress of a stage that runs in another process: a small file it rewrites and the driver polls."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from engine.artifacts.json_text import parse_json
from engine.artifacts.whole_files import write_text
from engine.training.plan import Progress

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

    @property
    def parts(self) -> list[ProgressFile]:
        """Return the notes of trainings that run side by side within the stage."""
        return [ProgressFile(path) for path in sorted(self.path.parent.glob(f"{self.path.name}.part-*"))]

    def latest(self) -> tuple[str, int, int] | None:
        """Return how far the stage is; of several trainings side by side all their steps, under the first one's name."""
        found = [note for part in self.parts if (note := part.read()) is not None]
        if not found or all(done >= total for _, done, total in found):
            return self.read()
        beside = f" and {len(found) - 1} beside it" if len(found) > 1 else ""
        return found[0][0] + beside, sum(done for _, done, _ in found), sum(total for *_, total in found)

    def remove(self) -> None:
        """Remove the note, and those of its parts."""
        for note in (self, *self.parts):
            note.path.unlink(missing_ok=True)

    def read(self) -> tuple[str, int, int] | None:
        """Return the latest note, None where there is none yet."""
        try:
            what, done, total = parse_json(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return str(what), int(done), int(total)


def part_of(note: Progress, number: int) -> Progress:
    """Return the note of one of several trainings that run side by side; one that is no file stays as it is."""
    if not isinstance(note, ProgressFile):
        return note
    return ProgressFile(note.path.with_name(f"{note.path.name}.part-{number:02d}"))
