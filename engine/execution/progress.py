"""What a person sees while stages run: Rich bars with time left, or plain lines where there is no terminal."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from engine.store import StageFolder


class QuietListener:
    """Says nothing (tests, library use)."""

    def stage_started(self, name: str) -> None:
        """Do nothing."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Do nothing."""

    def stage_finished(self, folder: StageFolder) -> None:
        """Do nothing."""


@dataclass
class RichListener:
    """One bar for the running stage; one line for each finished one. Without a terminal: a line now and then."""

    console: Console
    every: float = 20.0
    bars: Progress = field(init=False)
    task: TaskID | None = field(init=False, default=None)
    said: float = field(init=False, default=0.0)
    first: tuple[str, float, int] = field(init=False, default=("", 0.0, 0))

    def __post_init__(self) -> None:
        self.bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )

    def stage_started(self, name: str) -> None:
        """Show a bar for the stage."""
        self.said = time.monotonic()
        self.first = ("", 0.0, 0)
        if self.console.is_terminal:
            self.bars.start()
            self.task = self.bars.add_task(name, total=None)
        else:
            self.console.print(f"{name} ...", style="dim")

    def progress(self, what: str, done: int, total: int) -> None:
        """Move the bar; what was done before the first call (a resumed training) tells nothing about the speed."""
        now = time.monotonic()
        if what != self.first[0]:
            self.first = (what, now, done)
            if self.task is not None:
                self.bars.reset(self.task, completed=done, total=total, description=what)
        if self.task is not None:
            self.bars.update(self.task, completed=done)
        elif now - self.said > self.every and self.first[2] < done < total:
            self.said = now
            left = (now - self.first[1]) / (done - self.first[2]) * (total - done)
            self.console.print(f"  {what} {done}/{total}, about {left:.0f} s left", style="dim")

    def stage_finished(self, folder: StageFolder) -> None:
        """Remove the bar and say what was done."""
        if self.task is not None:
            self.bars.remove_task(self.task)
            self.bars.stop()
            self.task = None
        how = "ready" if folder.cached else f"{folder.seconds:.1f} s"
        self.console.print(
            Text.assemble(("✓", "green"), f" {folder.name:<11} ", (f"{folder.key} {how}", "dim"))
        )
