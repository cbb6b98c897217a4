"""SIGTERM and SIGHUP end a command in order: a checkpoint is written, the tracked run closed, the exit code says why.

Outside of a training the signal raises ``StoppedError`` where the main thread is; inside, at the end of the step. What
ends then may take its time: a further signal of the two is ignored, Ctrl-C and SIGKILL are not.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

from engine.errors import StoppedError
from engine.training import stop_request

SIGNALS = ("SIGTERM", "SIGHUP")


def install() -> None:
    """Handle the signals from now on; a SIGHUP that is ignored (nohup) stays so. Nothing happens outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return
    for name in SIGNALS:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


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
