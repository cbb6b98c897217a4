"""Two pytest workers side by side, but for tests that start Ray: those run while the other worker waits.

Ray's processes are niced; beside a busy worker they starve, and a test of them would fail or take minutes.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Alone:
    """A fair lock between processes: any number of tests beside each other, or one file's tests alone.

    Who wants to be alone holds the gate while it waits, so that no test that comes later slips in before it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._gate = (folder / "gate").open("w")
        self._room = (folder / "room").open("w")
        self._alone = False

    @contextmanager
    def turn(self, *, alone: bool, last_of_file: bool) -> Iterator[None]:
        """Hold the lock for a test; alone, it is kept to the end of the file, whose fixtures may hold a cluster."""
        if not self._alone:
            fcntl.flock(self._gate, fcntl.LOCK_EX)
            fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            fcntl.flock(self._gate, fcntl.LOCK_UN)
            self._alone = alone
        try:
            yield
        finally:
            if last_of_file or not self._alone:
                self._alone = False
                fcntl.flock(self._room, fcntl.LOCK_UN)
