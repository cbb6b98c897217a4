"""Progress of a stage that runs in another process: a small file it rewrites and the driver polls."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass, field, replace
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
        """Return how far the stage is; of several trainings side by side all their steps, under the first one's name.

        Those that have not begun count like the others.
        """
        parts = self.parts
        begun = [note for part in parts if (note := part.read()) is not None and note[2] > 0]
        if not begun or (len(begun) == len(parts) and all(done >= total for _, done, total in begun)):
            return self.read()
        total = sum(total for *_, total in begun) * len(parts) // len(begun)
        return f"{begun[0][0]}, {len(parts)} side by side", sum(done for _, done, _ in begun), total

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
    part = ProgressFile(note.path.with_name(f"{note.path.name}.part-{number:02d}"))
    part("", 0, 0)  # it has not begun
    return replace(part, said=0.0)  # clocks differ between machines
