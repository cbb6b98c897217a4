"""The folders of a stage's attempts: each writes into its own, and only the driver renames one into the stage's place.

Beside ``<stage>-<key>``, the finished stage:

- ``<stage>-<key>.attempt-<n>-<token>/``: an attempt. ``attempt.json`` is the driver's mark, ``out/`` what it fills,
  ``checkpoint/`` its own checkpoints.
- ``<stage>-<key>.checkpoint/``: checkpoints between two attempts. No attempt knows this path.

A worker that was given up but lives on knows the path of its own attempt alone. That folder is renamed before anything is
taken from it, so what such a worker still writes fails, or makes a folder without a mark, which the next attempt removes.
All of this happens under the stage's lock.
"""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import filelock

from engine.artifacts.whole_files import write_text
from engine.training.set_aside import NOTE

MARK: Final = "attempt.json"
OVER: Final = ".over"
"""Ends the name of an attempt's folder that is about to be removed."""


@dataclass(frozen=True, kw_only=True)
class AttemptFolder:
    """One attempt's folder."""

    path: Path

    @property
    def out(self) -> Path:
        """What the attempt fills, empty at first."""
        return self.path / "out"

    @property
    def checkpoint(self) -> Path:
        """Its checkpoints; at first those that the attempt before left."""
        return self.path / "checkpoint"


@dataclass(frozen=True, kw_only=True)
class StagePlace:
    """Where a stage lies once it is finished, and where its attempts do until then."""

    final: Path

    @property
    def kept(self) -> Path:
        """Where checkpoints lie between two attempts."""
        return self.final.with_name(f"{self.final.name}.checkpoint")

    def begin(self, number: int) -> AttemptFolder:
        """Make the folder of a new attempt; leftovers of earlier ones are removed, what they had done is handed on."""
        self.clear()
        attempt = AttemptFolder(path=self.final.with_name(f"{self.final.name}.attempt-{number}-{_token()}"))
        attempt.out.mkdir(parents=True)
        write_text(attempt.path / MARK, json.dumps({"stage": self.final.name, "attempt": number}) + "\n")
        if self.kept.is_dir():
            self.kept.rename(attempt.checkpoint)
        attempt.checkpoint.mkdir(exist_ok=True)
        return attempt

    def clear(self) -> None:
        """Remove what attempts left; checkpoints of a marked one are kept where there are none yet."""
        for path in self._leftovers():
            over = self._hidden(path)
            if (over / MARK).is_file() and not self.kept.exists():
                self._keep(over / "checkpoint")
            shutil.rmtree(over, ignore_errors=True)

    def publish(self, attempt: AttemptFolder) -> None:
        """Give an attempt's output its place by one rename; a damaged stage that lies there is moved out of the way.

        Raises:
            OSError: the output is gone, or another process took the place in between.
        """
        if self.final.exists():
            shutil.rmtree(self._hidden(self.final), ignore_errors=True)
        attempt.out.rename(self.final)  # refuses a folder that holds something
        self.forget_attempts()

    def forget_attempts(self) -> None:
        """Remove every attempt and checkpoint."""
        for path in (*self._leftovers(), self.kept):
            if path.exists():
                shutil.rmtree(self._hidden(path), ignore_errors=True)

    def _leftovers(self) -> Iterator[Path]:
        """Yield the folders of attempts; ``.tmp-`` is what versions before 0.3 called them."""
        name = self.final.name
        begins = (f"{name}.attempt-", f"{name}.tmp-")
        yield from sorted(p for p in self.final.parent.glob(f"{name}.*") if p.name.startswith(begins))

    def _keep(self, checkpoint: Path) -> None:
        """Keep the whole files of an attempt's checkpoints, by one rename; half written ones and notes go."""
        files = [path for path in checkpoint.rglob("*") if path.is_file()]
        whole = [path for path in files if path.name != NOTE and path.name[0] != "."]
        for path in set(files) - set(whole):
            path.unlink(missing_ok=True)
        if whole:
            checkpoint.rename(self.kept)

    def _hidden(self, path: Path) -> Path:
        """Rename a folder to a name that no worker knows and every leftover's begins with; return the new path."""
        if path.name.endswith(OVER):
            return path
        over = self.final.with_name(f"{self.final.name}.attempt-{_token()}{OVER}")
        path.rename(over)
        return over


def stage_lock(final: Path) -> filelock.FileLock:
    """Return the lock that one writer of a stage holds; the system frees it when its owner dies."""
    folder = final.parent / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(folder / f"{final.name}.lock")


def _token() -> str:
    return uuid.uuid4().hex[:8]
