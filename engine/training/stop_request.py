"""A request to stop that waits for the end of a training's step, so that a checkpoint holds whole steps only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class _State:
    """Of this process: how many trainings run in it, and what was asked of them."""

    trainings: int = 0
    asked: BaseException | None = None


_STATE = _State()


def is_deferred() -> bool:
    """Return whether a training is under way, which looks at ``requested`` after every step."""
    return _STATE.trainings > 0


def request(error: BaseException) -> None:
    """Ask the training to stop; it raises ``error`` after its step."""
    _STATE.asked = error


def requested() -> BaseException | None:
    """Return what the training is to raise, None where it may go on."""
    return _STATE.asked


@contextmanager
def deferred() -> Iterator[None]:
    """Keep requests while the block runs; one that nobody looked at is raised at its end."""
    _STATE.trainings += 1
    try:
        yield
    finally:
        _STATE.trainings -= 1
        asked, _STATE.asked = _STATE.asked, None
    if asked is not None:
        raise asked
