"""`hardcase review` as a process of its own, with its address."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Served:
    """The process and the address it printed."""

    process: subprocess.Popen[str]
    address: str

    @property
    def origin(self) -> str:
        return self.address.partition("/?")[0]

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()


@contextmanager
def served(run: Path, *options: str, command: str = "review") -> Iterator[Served]:
    """Start the command and wait for its address; end it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "engine", command, str(run), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        seen = []
        for line in process.stdout:
            seen.append(line)
            if found := re.match(r"open +(http://\S+)", line):
                yield Served(process, found[1])
                break
        else:
            raise AssertionError("".join(seen))
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
