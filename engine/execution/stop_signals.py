"""SIGTERM, SIGHUP and Ctrl-C end a command in order: a checkpoint is written, tracking closed, and the exit code tells it.

Outside of a training the signal raises ``StoppedError`` (Ctrl-C: ``KeyboardInterrupt``) where the main thread is; inside, at
the end of the step. What ends then may take its time: a further SIGTERM or SIGHUP is ignored, a further Ctrl-C ends at once.

Where Python has no one to raise to (a callback of the garbage collector, ``__del__``, a callback from C) it prints the
error and forgets it. The signal is then sent again, until it is raised where it ends something. Where compiled code makes
another error of it, ``unwrapped`` raises it as itself.
"""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from engine.artifacts.causes import chain
from engine.errors import StoppedError
from engine.training import stop_request

SIGNALS = ("SIGTERM", "SIGHUP")
AGAIN_SECONDS = 0.05
"""Time for a callback that swallowed a signal to return before the signal comes again."""


def install() -> None:
    """Handle the signals from now on; a SIGHUP that is ignored (nohup) stays so. Nothing happens outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return
    for name in SIGNALS:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    if getattr(sys.unraisablehook, "func", None) is not _not_raised:
        sys.unraisablehook = functools.partial(_not_raised, sys.unraisablehook)


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raise a stop as itself where it arrived in Ray's compiled code, which makes a SystemError of it."""
    try:
        yield
    except SystemError as error:
        stop = next((e for e in chain(error) if isinstance(e, StoppedError | KeyboardInterrupt)), None)
        if stop is None:
            raise
        raise stop from None


@contextmanager
def kept() -> Iterator[None]:
    """Keep the process's handlers over a block in which compiled code puts its own in place, in whichever thread it runs.

    Python itself lets the main thread alone change them; Ray is started by whichever thread has the first stage to run.
    """
    numbers = [number for name in SIGNALS if (number := getattr(signal, name, None)) is not None]
    before = {number: _handler_of(number) for number in numbers}
    in_main = threading.current_thread() is threading.main_thread()
    python = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in python.items():
            if in_main and handler is not None:
                signal.signal(number, handler)
            _set_handler(number, before[number])


def _handler_of(number: int) -> int | None:
    """Return the address of the function that the system calls for a signal (0: the default, 1: none)."""
    get = ctypes.pythonapi.PyOS_getsig
    get.argtypes, get.restype = [ctypes.c_int], ctypes.c_void_p
    found: int | None = get(number)
    return found


def _set_handler(number: int, address: int | None) -> None:
    put = ctypes.pythonapi.PyOS_setsig
    put.argtypes, put.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
    put(number, address)


def _not_raised(others: Callable[[Any], object], found: sys.UnraisableHookArgs) -> None:
    """Send a signal again whose error went nowhere; ``others`` take all other errors."""
    error = found.exc_value
    if isinstance(error, StoppedError):
        number = error.number
        signal.signal(number, _stop)  # it was set to be ignored
    elif isinstance(error, KeyboardInterrupt):
        number = signal.SIGINT
    else:
        others(found)
        return
    later = threading.Timer(AGAIN_SECONDS, _send_again, (number,))
    later.daemon = True
    later.start()


def _send_again(number: int) -> None:
    os.kill(os.getpid(), number)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Ctrl-C: end after the step of a training, as the others do; whoever presses it again does not want to wait."""
    if stop_request.is_deferred() and stop_request.requested() is None:
        stop_request.request(KeyboardInterrupt())
    else:
        raise KeyboardInterrupt


def _stop(number: int, _frame: FrameType | None) -> None:
    for name in SIGNALS:
        other = getattr(signal, name, None)
        if other is not None:
            signal.signal(other, signal.SIG_IGN)
    error = StoppedError(number)
    if stop_request.is_deferred():
        stop_request.request(error)
    else:
        raise error
