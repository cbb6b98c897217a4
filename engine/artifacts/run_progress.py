"""Reads and writes ``progress.json`` of a run folder: the stage in progress; absent where no process runs the run.

A killed process leaves it behind: ``at`` tells how old it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from engine.artifacts.json_record import JsonRecord
from engine.errors import DataError


class RunProgress(JsonRecord):
    """How far the stage in progress is: ``progress.json``."""

    FILE: ClassVar[str] = "progress.json"

    stage: str = Field(description="name of the stage")
    what: str = Field("", description="the piece of work within it")
    done: int = Field(0, description="its units that are done")
    total: int = Field(0, description="its units; 0 where unknown")
    seconds_left: float | None = Field(None, description="of this piece of work; null where unknown")
    beside: tuple[str, ...] = Field((), description="names of the stages that run beside it")
    began: float = Field(description="when the stage began, seconds since 1970")
    at: float = Field(description="when this was written, seconds since 1970")


def read_if_written(run: Path) -> RunProgress | None:
    """Return the stage in progress; None where there is none, or the file is damaged: it is a note, and no result."""
    try:
        return RunProgress.read(run) if RunProgress.present(run) else None
    except DataError:
        return None


def forget(run: Path) -> None:
    """Remove the note."""
    RunProgress.path(run).unlink(missing_ok=True)
