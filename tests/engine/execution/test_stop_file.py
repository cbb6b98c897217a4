"""What a training in another process is asked before it is ended: one checkpoint, answered by taking the file away."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from engine.execution import stop_file
from engine.execution.stop_file import StopFile


def test_a_training_writes_one_checkpoint_and_answers_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop_file, "LOOK_SECONDS", 0.0)
    asks, answers = StopFile.of(tmp_path / "vae-1.attempt-1"), StopFile.of(tmp_path / "vae-1.attempt-1")
    assert not answers.asked()
    waiting = threading.Thread(target=asks.ask, args=(60.0, lambda: False))
    waiting.start()
    while not answers.asked():
        time.sleep(0.01)
    assert waiting.is_alive(), "the checkpoint of this step is still to be written"
    assert not answers.asked()
    waiting.join(10)
    assert not waiting.is_alive()
    assert list(tmp_path.iterdir()) == []


def test_nobody_waits_for_a_training_that_is_over_or_does_not_answer(tmp_path: Path) -> None:
    began = time.monotonic()
    StopFile.of(tmp_path / "a").ask(60.0, lambda: True)
    StopFile.of(tmp_path / "a").ask(0.1, lambda: False)
    assert time.monotonic() - began < 30
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_not_looked_for_at_every_step(tmp_path: Path) -> None:
    answers = StopFile.of(tmp_path / "a")
    assert not answers.asked()
    answers.path.touch()
    assert not answers.asked(), "within LOOK_SECONDS"
