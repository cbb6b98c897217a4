"""Sends kept calls from a thread of its own, so that a server that hangs or is gone never holds up a run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from engine.artifacts.secrets import masking_logger
from engine.tracking.outbox import Entry, Outbox

LOG = masking_logger("hardcase.tracking")


class RefusedError(Exception):
    """The server answered and will not take this call; sending it again would not help."""


def is_refusal(error: Any) -> bool:
    """Return whether the server understood and said no (4xx but for login, timeout and load)."""
    status = int(error.get_http_status_code())
    return 400 <= status < 500 and status not in (401, 403, 408, 429)


class Sender:
    """Drains an outbox in order, oldest call first.

    After the first failure the circuit is open: calls are only kept, at no cost, until ``retry``. After the first
    call that was not done in time, later ones are sent behind the run's back without waiting.
    """

    def __init__(
        self, outbox: Outbox, send: Callable[[Entry], None], *, notify: Callable[[str], None] = LOG.warning
    ) -> None:
        """Send through ``send``, which raises RefusedError for what the server will never take; ``notify`` the user."""
        self.outbox = outbox
        self.failure: str | None = None
        self._send = send
        self._notify = notify
        self._slow = False
        self._thread: threading.Thread | None = None

    def flush(self, patience: float) -> bool:
        """Send what is kept and wait at most ``patience`` seconds; returns whether nothing is left."""
        deadline = time.monotonic() + (0.0 if self._slow else patience)
        while self.failure is None and self.outbox.entries():
            thread = self._running()
            left = deadline - time.monotonic()
            if left <= 0:
                self._give_up(patience)
                break
            thread.join(left)
        return not self.outbox.entries()

    def retry(self) -> None:
        """Close the circuit again: the next flush tries, and waits."""
        self.failure, self._slow = None, False

    def _running(self) -> threading.Thread:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._drain, name="hardcase-tracking", daemon=True)
            self._thread.start()
        return self._thread

    def _drain(self) -> None:
        with self.outbox.sending() as ours:
            if ours:
                self._send_all()
            else:
                self._fail(RuntimeError("another process is sending to it"))

    def _send_all(self) -> None:
        while self.failure is None and (entries := self.outbox.entries()):
            entry = entries[0]
            try:
                self._send(entry)
            except RefusedError as error:
                self._notify(
                    f"tracking: {entry.key} was refused ({error}); kept in {self.outbox.folder}/rejected.jsonl"
                )
                self.outbox.reject(entry, str(error))
            except Exception as error:
                self._fail(error)
            else:
                self.outbox.take(entry)

    def _fail(self, error: Exception) -> None:
        self.failure = _one_line(error)
        self._notify(
            f"tracking: not reached ({self.failure}); the run goes on, calls are kept in {self.outbox.folder} "
            "and sent when the run ends or is started again"
        )

    def _give_up(self, patience: float) -> None:
        if not self._slow:
            self._notify(f"tracking: no answer within {patience:g} s; the run goes on without waiting for it")
        self._slow = True


def _one_line(error: Exception) -> str:
    """The error's first 200 characters on one line; its kind where it says nothing."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."
