"""Keeps stages that were fetched from object stores within a bound: the least recently used go, never one in use.

In use is what a living process has named. Each process has a file below ``<scratch>/.in-use`` that lists its stages, and
holds that file's lock until it ends.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

import filelock

from engine.artifacts import stage_manifest
from engine.artifacts.run_layout import CACHE
from engine.artifacts.secrets import masking_logger
from engine.store.attempt_folders import stage_lock

LOG = masking_logger("hardcase.store")
IN_USE: Final = ".in-use"
STORED: Final = ".stored"
"""Folder beside the stages: an empty file for each that the object store has, whose time is that of its last use."""
FETCHED: Final = ".fetched-"
"""Begins the name of a folder into which a stage is fetched."""
STALE_SECONDS: Final = 86400.0


@dataclass(frozen=True)
class ScratchSpace:
    """The local copies below ``scratch``, as one process uses them; get it by ``space_of``."""

    scratch: Path
    mine: Path
    lock: filelock.FileLock
    named: set[Path] = field(default_factory=set)

    def use(self, stage: Path) -> None:
        """Name a stage's folder as in use until this process ends; to be called before it is looked for."""
        if (note := _stored(stage)).exists():
            note.touch()  # when it was last used
        if stage in self.named:
            return
        with self._settled():
            self.named.add(stage)
            with self.mine.open("a", encoding="utf-8") as handle:
                handle.write(f"{stage.relative_to(self.scratch).as_posix()}\n")

    def trim(self, limit: float) -> None:
        """Remove the least recently used stages until all take at most ``limit`` bytes; what no store has stays."""
        with self._settled():
            self._clear()
            last_used = {note: note.stat().st_mtime for note in self.scratch.glob(f"*/{CACHE}/{STORED}/*")}
            sizes = {note: _bytes(_stage(note)) for note in last_used}
            used, total = self._in_use(), sum(sizes.values())
            for note in sorted(sizes, key=last_used.__getitem__):
                if total <= limit:
                    return
                if _stage(note) not in used and _remove(_stage(note)):
                    note.unlink(missing_ok=True)
                    total -= sizes[note]
        if total > limit:
            LOG.info("%s: %.1f GB of stages are in use, more than the bound of %.1f GB",
                     self.scratch, total / 1e9, limit / 1e9)  # fmt: skip

    def _clear(self) -> None:
        """Remove what processes that were killed while they fetched it have left."""
        for folder in self.scratch.glob(f"*/{CACHE}/{FETCHED}*"):
            if time.time() - folder.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)

    def _settled(self) -> filelock.BaseFileLock:
        """Return the lock under which stages are named and removed."""
        return filelock.FileLock(self.scratch / IN_USE / ".lock")

    def _in_use(self) -> set[Path]:
        """Return what living processes have named; the lists of dead ones are removed."""
        used = set(self.named)
        for path in (self.scratch / IN_USE).glob("*.txt"):
            if path == self.mine:
                continue
            lock = filelock.FileLock(path.with_suffix(".lock"))
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                used |= {self.scratch / line for line in path.read_text(encoding="utf-8").splitlines()}
            else:
                path.unlink(missing_ok=True)
                lock.release()
                path.with_suffix(".lock").unlink(missing_ok=True)
        return used


@cache
def space_of(scratch: Path) -> ScratchSpace:
    """Return this process's view of a scratch folder."""
    folder = scratch / IN_USE
    folder.mkdir(parents=True, exist_ok=True)
    mine = folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.txt"
    with filelock.FileLock(folder / ".lock"):
        lock = filelock.FileLock(mine.with_suffix(".lock"))
        lock.acquire()
        mine.touch()
    return ScratchSpace(scratch, mine, lock)


def note_stored(stage: Path, *, stored: bool) -> None:
    """Note whether the object store has a stage."""
    note = _stored(stage)
    if stored:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()
    else:
        note.unlink(missing_ok=True)


def _stored(stage: Path) -> Path:
    return stage.parent / STORED / stage.name


def _stage(note: Path) -> Path:
    return note.parent.parent / note.name


def _bytes(stage: Path) -> int:
    manifest = stage_manifest.find(stage)
    return sum(manifest.sizes.values()) if manifest is not None else 0


def _remove(stage: Path) -> bool:
    """Remove a stage unless a process is writing it just now."""
    lock = stage_lock(stage)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return False
    try:
        if stage.exists():
            over = stage.with_name(f"{FETCHED}{uuid.uuid4().hex[:8]}")
            stage.rename(over)
            shutil.rmtree(over, ignore_errors=True)
        return True
    finally:
        lock.release()
