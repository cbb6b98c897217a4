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

from engine.execution.pace import Pace
from engine.store import StageFolder


class QuietListener:
    """Says nothing (tests, library use)."""

    def stage_started(self, name: str, key: str) -> None:
        """Do nothing."""

    def progress(self, key: str, what: str, done: int, total: int) -> None:
        """Do nothing."""

    def stage_finished(self, folder: StageFolder) -> None:
        """Do nothing."""


@dataclass
class RichListener:
    """A bar per running stage; one line for each finished one. Without a terminal that is all, but for stages of minutes.

    ``every``: a long stage says how far it is after so many seconds, and no more often.
    """

    console: Console
    every: float = 60.0
    bars: Progress = field(init=False)
    tasks: dict[str, TaskID] = field(init=False, default_factory=dict)
    paces: dict[str, Pace] = field(init=False, default_factory=dict)
    said: float = field(init=False, default=0.0)

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

    def stage_started(self, name: str, key: str) -> None:
        """Show a bar for the stage."""
        self.said = time.monotonic()
        self.paces[key] = Pace(name)
        if self.console.is_terminal:
            self.bars.start()
            self.tasks[key] = self.bars.add_task(name, total=None)

    def progress(self, key: str, what: str, done: int, total: int) -> None:
        """Move the stage's bar."""
        now, pace, task = time.monotonic(), self.paces.setdefault(key, Pace(what)), self.tasks.get(key)
        if pace.look(what, done, now) and task is not None:
            self.bars.reset(task, completed=done, total=total, description=what)
        if task is not None:
            self.bars.update(task, completed=done)
        elif now - self.said > self.every and done < total:
            left = pace.seconds_left(done, total, now)
            if left is not None:
                self.said = now
                self.console.print(f"  {what} {done}/{total}, about {left:.0f} s left", style="dim")

    def stage_finished(self, folder: StageFolder) -> None:
        """Remove the stage's bar and say what was done."""
        self.paces.pop(folder.key, None)
        task = self.tasks.pop(folder.key, None)
        if task is not None:
            self.bars.remove_task(task)
            if not self.tasks:
                self.bars.stop()
        how = "ready" if folder.cached else f"{folder.seconds:.1f} s"
        self.console.print(
            Text.assemble(("✓", "green"), f" {folder.name:<11} ", (f"{folder.key} {how}", "dim"))
        )
