"""`hardcase review` as a process of its own, with its address; forked, so that it does not import the engine again."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.processes import Forked, hardcase

PATIENCE = 120.0


@dataclass
class Served:
    """The process and the address it printed."""

    process: Forked
    address: str

    @property
    def origin(self) -> str:
        return self.address.partition("/?")[0]

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()


@contextmanager
def served(run: Path, *options: str, command: str = "review") -> Iterator[Served]:
    """Start the command and wait for its address; end it."""
    with tempfile.TemporaryDirectory() as folder:
        process = hardcase(Path(folder) / "said.txt", command, run, *options)
        try:
            yield Served(process, _address(process))
        finally:
            if process.wait(0) is None:
                process.kill()


def _address(process: Forked) -> str:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if found := re.search(r"^open +(http://\S+)$", process.said(), flags=re.M):
            return found[1]
        assert process.wait(0.02) is None, process.said()
    raise AssertionError(process.said())
