"""A run in a process of its own that notes every step it takes, so that it can be stopped at any of them."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

from engine import build
from engine.errors import StoppedError
from engine.execution import stop_signals
from engine.store import StageFolder

_CONTEXT: Final = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["experiments.lib.faulted_run"])


@dataclass(frozen=True)
class Marks:
    """A listener that adds a line of JSON to a file for every step of every stage; a killed process leaves its last one."""

    path: Path

    def stage_started(self, name: str, key: str) -> None:
        """Note that a stage began."""
        self._add(stage=name, key=key)

    def progress(self, key: str, what: str, done: int, total: int) -> None:
        """Note a step."""
        self._add(key=key, what=what, done=done, total=total)

    def stage_finished(self, folder: StageFolder) -> None:
        """Note that a stage is there."""
        self._add(stage=folder.name, key=folder.key, finished=True, cached=folder.cached)

    def _add(self, **entry: Any) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


def read_marks(path: Path) -> list[dict[str, Any]]:
    """Return the marks so far; a line that was cut off is left out."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def begin(config: Path, overrides: Sequence[str], marks: Path) -> BaseProcess:
    """Start ``hardcase run`` with these arguments in a session of its own."""
    process = _CONTEXT.Process(target=_play, args=(str(config), list(overrides), str(marks)))
    process.start()
    return process


def send(process: BaseProcess, number: signal.Signals) -> int:
    """Send a signal to the process alone, wait for its end and return its exit code (minus a signal that killed it)."""
    assert process.pid is not None
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _play(config: str, overrides: list[str], marks: str) -> None:
    os.setsid()
    with Path(marks).with_suffix(".txt").open("a", encoding="utf-8") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    stop_signals.install()
    try:
        build.run(build.load(Path(config), overrides), listener=Marks(Path(marks)))
    except StoppedError as stopped:
        sys.exit(stopped.exit_code)
