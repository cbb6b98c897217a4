"""The writer of a run folder in an object store: what changed is stored, by the owner of the run's lease alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engine.artifacts.checksums_json import FILE as CHECKSUMS
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
        tags = {name: tag for name, (tag, *_) in known.items()}
        noted = known.get(CHECKSUMS, ("", 0, 0))[1:]
        for name in sorted(changed.keys() - {CHECKSUMS}):
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                path = run.path / name
                data = None if path.stat().st_size > LARGE else path.read_bytes()
                noted = self._put_checksums(tags, noted)
                self._put(name, data, tags)
        self._put_checksums(tags, noted)
        self._remove_gone(known, here)
        stored = run.copy.store.list(run.name)
        run.remember({name: (stored[name], *stamp) for name, stamp in here.items() if name in stored})

    def _put_checksums(self, tags: dict[str, str], noted: tuple[int, ...]) -> tuple[int, int]:
        """Store the checksums where they have changed since ``noted``, and return their stamp.

        They hold what a file was and what it is about to be, so they go before whatever was read before they were looked at:
        the main thread may write while another stores what a stage left.
        """
        path = self.run.path / CHECKSUMS
        now = stamp(path)
        if now not in (noted, (0, 0)):
            self._put(CHECKSUMS, path.read_bytes(), tags)
        return now

    def _put(self, name: str, data: bytes | None, tags: dict[str, str]) -> None:
        """Store a file over the version that is known; where another is there, only as the owner that this still is.

        So a driver that slept after it had renewed replaces nothing that its successor wrote. No ``data``: it is large.
        """
        key, store = f"{self.run.name}/{name}", self.run.copy.store
        if data is None:  # weights: they are written once
            store.upload(self.run.path / name, key)
            return
        tag = tags.get(name)
        try:
            tags[name] = store.write(key, data, new=tag is None, replacing=tag)
        except ChangedError:
            self.lease.renew()
            tags[name] = store.write(key, data)

    def _remove_gone(self, known: Mapping[str, tuple[str, int, int]], here: Container[str]) -> None:
        """Remove what this machine stored and does not have any more, as the owner that it still is."""
        store, gone = self.run.copy.store, [name for name in known if name not in here]
        if not gone:
            return
        self.lease.renew()
        stored = store.list(self.run.name)
        for name in gone:
            if stored.get(name) == known[name][0]:
                store.remove(f"{self.run.name}/{name}")

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
    for folder, folders, files in os.walk(run):  # a folder that goes meanwhile is passed over
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if (name.startswith(".") and name != OWN) or name == RunProgress.FILE:
                continue
            path = Path(folder, name)
            if (facts := stamp(path)) != (0, 0):
                found[path.relative_to(run).as_posix()] = facts
    return dict(sorted(found.items()))


def stamp(path: Path) -> tuple[int, int]:
    """Return a file's bytes and time in ns, zeros where it is absent."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return 0, 0
    return facts.st_size, facts.st_mtime_ns
