"""`hardcase report`: renders report.html of a run folder again."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from engine.commands.finished_run import read_report


def report(run: Path, console: Console) -> Path:
    """Write RUN/report.html from what the run folder holds; DataError where it is no run folder."""
    from engine.evaluation.report import write_report

    read_report(run)
    path = write_report(run)
    console.print(f"report   {path}")
    return path
