"""What the loop tells a tracker, and the tracker that keeps nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """Logs a loop or a sweep: one parent run, one child run a (round, arm) or trial. Never raises because a server is down.

    Every call is idempotent: a resumed loop repeats them, run ids are kept in ``run_folder``.
    """

    def start(self, *, config: Mapping[str, Any], dataset: Mapping[str, Any], run_folder: Path) -> None:
        """Open or resume the parent run; ``dataset`` holds name, digest, counts per split and class."""
        ...

    def log_round(self, report: Mapping[str, Any], folder: Path, run_folder: Path) -> None:
        """Log one (round, arm): ``report`` is its object of report.json, ``folder`` its folder in RUN/rounds."""
        ...

    def log_trial(self, trial: Mapping[str, Any], run_folder: Path) -> None:
        """Log one trial of a sweep: ``trial`` is its object of tune.json; settings, val figures per round, how it ended."""
        ...

    def register_champion(self, champion: Mapping[str, Any], run_folder: Path) -> None:
        """Log and register the champion (champion.json's object), move the alias when val picks it."""
        ...

    def finish(self, status: str, run_folder: Path) -> None:
        """Close the parent run with "FINISHED", "FAILED" or "KILLED"; attach report.html and report.json."""
        ...


class NullTracker:
    """Keeps nothing (``tracking.kind: none``)."""

    def start(self, *, config: Mapping[str, Any], dataset: Mapping[str, Any], run_folder: Path) -> None:
        """Do nothing."""

    def log_round(self, report: Mapping[str, Any], folder: Path, run_folder: Path) -> None:
        """Do nothing."""

    def log_trial(self, trial: Mapping[str, Any], run_folder: Path) -> None:
        """Do nothing."""

    def register_champion(self, champion: Mapping[str, Any], run_folder: Path) -> None:
        """Do nothing."""

    def finish(self, status: str, run_folder: Path) -> None:
        """Do nothing."""
