"""Progress lines: time left from what this process did, not from what an earlier one had done."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from engine.execution import progress
from engine.execution.progress import RichListener
from engine.execution.progress_file import ProgressFile, part_of
from engine.store import StageFolder


def test_time_left_of_a_resumed_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    console = Console(file=io.StringIO(), width=100)
    listener = RichListener(console)
    listener.stage_started("denoiser", "k")
    for moment, done in ((5.0, 4201), (50.0, 4246), (65.0, 4261), (66.0, 4262)):
        now = moment
        listener.progress("k", "denoiser", done, 5000)
    listener.stage_finished(StageFolder(name="denoiser", key="k", path=tmp_path, seconds=31.0, cached=False))
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "denoiser 4261/5000, about 739 s left" in said  # one step a second since the first one seen
    assert said.count("left") == 1, "a line now and then"
    assert "31.0 s" in said and len(said.splitlines()) == 2, "one line per stage, but for one of minutes"


def test_a_terminal_shows_a_bar(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    listener = RichListener(console)
    listener.stage_started("vae", "k")
    for done in (1, 2):
        listener.progress("k", "vae", done, 4)
    listener.progress("k", "map", 1, 2)
    assert listener.bars.tasks[0].description == "map"
    listener.stage_finished(StageFolder(name="vae", key="k", path=tmp_path, seconds=1.0, cached=True))
    assert not listener.tasks
    assert "ready" in console.file.getvalue()  # type: ignore[attr-defined]


def test_trainings_side_by_side_are_one_bar(tmp_path: Path) -> None:
    note = ProgressFile(tmp_path / "progress.json")
    note("judge", 1, 1)
    parts = [part_of(note, number) for number in range(3)]
    assert note.latest() == ("judge", 1, 1)
    for number, done in enumerate((3, 10)):
        ProgressFile(parts[number].path)(f"fold {number + 1}/2", done, 10)
    assert note.latest() == ("fold 1/2, 3 side by side", 13, 30), "the third has not begun"
    ProgressFile(parts[0].path)("fold 1/2", 10, 10)
    assert note.latest() == ("fold 1/2, 3 side by side", 20, 30)
    ProgressFile(parts[2].path)("fold 3/3", 10, 10)
    note("judge on val", 4, 4)
    assert note.latest() == ("judge on val", 4, 4)
    note.remove()
    assert not list(tmp_path.iterdir())
    assert part_of(print, 0) is print
