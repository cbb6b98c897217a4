"""How fast a running stage goes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Pace:
    """How fast one running stage goes. What was done before the first look (a resumed training) tells nothing about it."""

    name: str
    what: str = ""
    since: float = 0.0
    first: int = 0

    def look(self, what: str, done: int, now: float) -> bool:
        """Take note of where the stage is; return whether it began another piece of work."""
        if what == self.what:
            return False
        self.what, self.since, self.first = what, now, done
        return True

    def seconds_left(self, done: int, total: int, now: float) -> float | None:
        """Return how long this piece of work still takes; None where nothing was done since the first look."""
        if done <= self.first:
            return None
        return (now - self.since) / (done - self.first) * (total - done)
