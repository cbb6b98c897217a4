"""`hardcase` commands in processes of their own, forked from a server that has imported the engine: no 10 s of imports.

For tests of what happens to a process: signals, exit codes, kills. Everything else calls the command in this process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.preloaded"])


class Forked:
    """A process in a session of its own that runs ``target(*arguments)``; what it prints goes to ``output``.

    ``target`` is found by its name, so it is a function of a module. Returns when the process is about to call it.
    """

    def __init__(self, output: Path, target: Callable[..., Any], *arguments: Any) -> None:
        self.output = output
        receiver, sender = CONTEXT.Pipe(duplex=False)
        place = (str(output), dict(os.environ), sender)
        self.process = CONTEXT.Process(target=_run, args=(*place, target, arguments))
        self.process.start()
        sender.close()
        receiver.recv()  # EOFError: it died before the call

    def wait(self, seconds: float = 300.0) -> int | None:
        """Return the exit code, minus the signal where one killed it, or None where it still runs."""
        self.process.join(seconds)
        return self.process.exitcode

    def send(self, number: int) -> None:
        """Send a signal to the process alone."""
        os.kill(self._pid, number)

    def status(self) -> str:
        """Return what the system says of it: one of psutil's STATUS_s."""
        return psutil.Process(self._pid).status()

    def kill(self) -> None:
        """Kill -9 the whole session."""
        os.killpg(self._pid, signal.SIGKILL)
        self.process.join()

    def said(self) -> str:
        """Return what was printed so far on stdout and stderr."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    @property
    def _pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid


def hardcase(output: Path, *arguments: object) -> Forked:
    """Start ``hardcase <arguments>``."""
    return Forked(output, command, *map(str, arguments))


def command(*arguments: str) -> None:
    """Call the command line as the installed script does."""
    from engine import cli

    sys.argv = ["hardcase", *arguments]
    cli.main()


def _run(
    output: str, environment: dict[str, str], started: Connection, target: Callable[..., Any], arguments: Any
) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (1, 2):
        os.dup2(file, number)
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
    for stopping in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stopping, signal.default_int_handler if stopping == signal.SIGINT else signal.SIG_DFL)
    started.send(True)
    try:
        target(*arguments)
    except Exception:
        traceback.print_exc()
        raise
