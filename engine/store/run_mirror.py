"""The writer of a run folder in an object store: what changed is stored, by the owner of the run's lease alone."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.artifacts import checksums_json
from engine.artifacts.own_output import MARKER as OWN
from engine.artifacts.run_progress import RunProgress
from engine.store.cache import Listener, StageFolder
from engine.store.leases import Lease
from engine.store.store_answers import ChangedError

if TYPE_CHECKING:
    from engine.store.stored_run import StoredRun

LARGE: Final = 32 * 2**20
"""Bytes above which a file travels in parts, without a condition."""


@dataclass(frozen=True, kw_only=True)
class RunMirror:
    """Stores the files of a run folder that have changed, as the owner of its lease."""

    run: StoredRun
    lease: Lease

    def push(self) -> None:
        """Store what has changed since the last time; what is gone here goes there.

        Raises:
            FencedError: another owner took the run over; nothing was stored.
            StoreError: the store refuses or is silent.
        """
        run, known, here = self.run, self.run.known(), files_of(self.run.path)
        changed = {name: stamp for name, stamp in here.items() if known.get(name, ("",))[1:] != stamp}
        if not changed and known.keys() == here.keys():
            return
        self.lease.renew()
        for name in sorted(
            changed, key=lambda name: name != checksums_json.FILE
        ):  # it holds old and new ones
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                self._put(name, known.get(name, (None,))[0])
        stored = run.copy.store.list(run.name)
        for name in stored.keys() - here.keys():
            run.copy.store.remove(f"{run.name}/{name}")
        run.remember({name: (stored[name], *stamp) for name, stamp in here.items() if name in stored})

    def _put(self, name: str, tag: str | None) -> None:
        """Store a file over the version of ``tag``; where another is there, only as the owner that this still is.

        So a driver that slept after it had renewed replaces nothing that its successor wrote.
        """
        path, key, store = self.run.path / name, f"{self.run.name}/{name}", self.run.copy.store
        if path.stat().st_size > LARGE:  # weights: they are written once
            store.upload(path, key)
            return
        data = path.read_bytes()
        try:
            store.write(key, data, new=tag is None, replacing=tag)
        except ChangedError:
            self.lease.renew()
            store.write(key, data)

    def listening(self, inner: Listener) -> Listener:
        """Return a listener that passes everything on, and stores the run folder after each stage that was computed."""
        return _Mirroring(inner, self)


@dataclass(frozen=True)
class _Mirroring:
    """A listener that stores the run folder after each stage that was computed."""

    inner: Listener
    mirror: RunMirror

    def stage_started(self, name: str, key: str) -> None:
        """Pass it on."""
        self.inner.stage_started(name, key)

    def progress(self, key: str, what: str, done: int, total: int) -> None:
        """Pass it on."""
        self.inner.progress(key, what, done, total)

    def stage_finished(self, folder: StageFolder) -> None:
        """Pass it on; after a stage that was computed store what has changed."""
        self.inner.stage_finished(folder)
        if not folder.cached:
            self.mirror.push()


def files_of(run: Path) -> dict[str, tuple[int, int]]:
    """Return {file below a run folder: bytes, time in ns} of what is stored: no locks, no half written files."""
    found = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run)
        hidden = any(part.startswith(".") for part in name.parts) and name.name != OWN
        if not hidden and name.name != RunProgress.FILE and path.is_file():
            found[name.as_posix()] = stamp(path)
    return found


def stamp(path: Path) -> tuple[int, int]:
    """Return a file's bytes and time in ns, zeros where it is absent."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return 0, 0
    return facts.st_size, facts.st_mtime_ns
