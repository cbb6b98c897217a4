"""Copies of stages: the least recently used go first, never one in use, never one that no store has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.artifacts import stage_manifest
from engine.artifacts.stage_manifest import StageManifest
from engine.store.attempt_folders import stage_lock
from engine.store.scratch_space import ScratchSpace, note_stored, space_of


@pytest.fixture
def stages(tmp_path: Path) -> list[Path]:
    """Five stored stages of 100 bytes, the first used longest ago."""
    made = [tmp_path / "bucket-1" / "stages" / f"vae-{number}" for number in range(5)]
    for age, stage in enumerate(made):
        stage.mkdir(parents=True)
        (stage / "a").write_bytes(b"0" * 100)
        stage_manifest.write(StageManifest(seconds=1.0, files={"a": ""}, sizes={"a": 100}).sealed(), stage)
        note_stored(stage, stored=True)
        os.utime(stage.parent / ".stored" / stage.name, (1000.0 + age, 1000.0 + age))
    return made


def another_process(scratch: Path) -> ScratchSpace:
    return space_of.__wrapped__(scratch)


def left(stages: list[Path]) -> list[int]:
    return [number for number, stage in enumerate(stages) if stage.exists()]


def test_the_least_recently_used_go_first(stages: list[Path], tmp_path: Path) -> None:
    another_process(tmp_path).use(stages[0])
    another_process(tmp_path).lock.release()  # all of them have ended, as far as their locks say
    another_process(tmp_path).trim(250.0)
    assert left(stages) == [0, 4]


def test_what_a_process_uses_stays(stages: list[Path], tmp_path: Path) -> None:
    here, there = another_process(tmp_path), another_process(tmp_path)
    here.use(stages[1])
    there.use(stages[2])
    here.trim(0.0)
    assert left(stages) == [1, 2]
    there.lock.release()  # it ends
    here.trim(0.0)
    assert left(stages) == [1]


def test_what_no_store_has_and_what_is_being_written_stays(stages: list[Path], tmp_path: Path) -> None:
    note_stored(stages[0], stored=False)
    with stage_lock(stages[1]):
        another_process(tmp_path).trim(0.0)
    assert left(stages) == [0, 1]
