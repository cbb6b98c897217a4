"""Another process that writes ``labels.parquet`` in the instant before this one gets its lock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from engine.artifacts import labels
from engine.artifacts.labels import Answer


def writes_first(monkeypatch: pytest.MonkeyPatch, run: Path, answers: Sequence[Answer]) -> None:
    """Let ``answers`` be appended once, by somebody who gets the lock just before the next writer does."""
    real = labels.only_writer

    @contextmanager
    def late(lock: Path, what: str) -> Iterator[None]:
        monkeypatch.setattr(labels, "only_writer", real)
        labels.append(run, answers)
        with real(lock, what):
            yield

    monkeypatch.setattr(labels, "only_writer", late)
