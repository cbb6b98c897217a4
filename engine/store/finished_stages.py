"""Where finished stages lie: in the folder of the cache alone, or in an object store of which that folder is a copy.

In a store a stage is ``stages/<stage>-<key>/stage.json``, and its files lie in a folder beside it that is named by their
checksums. The files go first. The manifest goes last, by a write that fails where there is one, so of two that publish the
same stage the first stands, and a reader sees a whole stage or none.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from engine.artifacts import stage_manifest
from engine.artifacts.own_output import mark
from engine.artifacts.run_layout import CACHE
from engine.artifacts.secrets import masking_logger
from engine.artifacts.stage_manifest import StageManifest
from engine.errors import FencedError
from engine.store import leases
from engine.store.attempt_folders import stage_lock
from engine.store.leases import Lease, LeaseState
from engine.store.local_copy import LocalCopy, copy_in
from engine.store.object_store import Stored
from engine.store.scratch_space import FETCHED, note_stored, space_of
from engine.store.store_answers import ChangedError
from engine.store.verified import damaged_file

LOG = masking_logger("hardcase.store")
AT_ONCE: Final = 8
"""Files that travel at the same time."""
LEASES: Final = ".leases"
FOREVER: Final = 30 * 86400.0
"""Seconds to wait for another machine that is computing a stage and keeps its lease."""


class FinishedStages(Protocol):
    """Where finished stages lie beside the folders of the cache; ``stage`` is such a folder, ``<root>/<stage>-<key>``."""

    def settle(self, stage: Path, *, sound: bool) -> bool:
        """Bring here and there together; ``sound``: whether the stage is here, undamaged. True where here has changed."""
        ...

    def fetch(self, stage: Path) -> None:
        """Bring a stage here that is not here."""
        ...

    def publish(self, stage: Path) -> bool:
        """Store a stage that was computed here. True where another's was there, and now is here."""
        ...

    def forget(self, stage: Path) -> None:
        """Let what is stored be replaced by what is published next."""
        ...

    def held(self, stage: Path) -> AbstractContextManager[bool]:
        """Return a block in which this process alone computes a stage; the lock of this machine is held already.

        It yields whether another machine may have finished the stage by now.
        """
        ...


class LocalStages:
    """The folders of the cache are all there is."""

    def settle(self, stage: Path, *, sound: bool) -> bool:
        """Do nothing."""
        return False

    def fetch(self, stage: Path) -> None:
        """Do nothing."""

    def publish(self, stage: Path) -> bool:
        """Do nothing."""
        return False

    def forget(self, stage: Path) -> None:
        """Do nothing."""

    def held(self, stage: Path) -> AbstractContextManager[bool]:
        """Return an empty block."""
        return nullcontext(False)


@dataclass(frozen=True)
class StoredStages:
    """Stages of an object store; the cache is their copy on this machine.

    Attributes:
        copy: the local copy.
        settled: stages that were compared by this process.
        spoilt: tag of the manifest, by stage, of what is damaged in the store or to be replaced.
        leases: what this process holds.
    """

    copy: LocalCopy
    settled: set[Path] = field(default_factory=set)
    spoilt: dict[Path, str] = field(default_factory=dict)
    leases: dict[Path, Lease] = field(default_factory=dict)

    def settle(self, stage: Path, *, sound: bool) -> bool:
        """Bring here and there together once per process: what is stored is fetched, what is here alone is stored."""
        space_of(self.copy.scratch).use(stage)
        if sound and stage in self.settled:
            return False
        stored = self._manifest(stage)
        if stored is not None and sound and _same(stored, stage):
            self._settled(stage)
            return False
        if stored is not None and self._bring(stage, stored):
            return True
        if sound:
            with self.held(stage):
                return self.publish(stage)
        return False

    def fetch(self, stage: Path) -> None:
        """Bring a stage here that is not here; it stays away where the store has none, or a damaged one."""
        space_of(self.copy.scratch).use(stage)
        if StageManifest.present(stage):
            return
        with stage_lock(stage):
            if not StageManifest.present(stage) and (stored := self._manifest(stage)) is not None:
                self._bring(stage, stored)

    def publish(self, stage: Path) -> bool:
        """Store a stage that is here: files first, the manifest last. True where another's was there, and now is here.

        Raises:
            FencedError: another owner took the lease over and has not published yet; neither has this one.
            StoreError: the store refuses or is silent; the stage stays here and is stored by the next run.
        """
        manifest = (stage / stage_manifest.FILE).read_bytes()
        files = stage_manifest.read(stage).files
        home = f"{self._key(stage)}/{digest_of(files)}"
        self._all(lambda name: self.copy.store.upload(stage / name, f"{home}/{name}"), files)
        try:
            self.leases[stage].renew()
        except FencedError:
            if self._manifest(stage) is None:
                raise
            return self.settle(stage, sound=True)  # what the new owner has published
        replacing = self.spoilt.get(stage)
        try:
            self.copy.store.write(
                self._manifest_key(stage), manifest, new=replacing is None, replacing=replacing
            )
        except ChangedError:
            self.spoilt.pop(stage, None)
            return self.settle(stage, sound=True)
        self.spoilt.pop(stage, None)
        self._settled(stage)
        return False

    def forget(self, stage: Path) -> None:
        """Let the manifest that is stored now be replaced."""
        self.settled.discard(stage)
        note_stored(stage, stored=False)
        stored = self.copy.store.tag(self._manifest_key(stage))
        if stored is not None:
            self.spoilt[stage] = stored

    @contextmanager
    def held(self, stage: Path) -> Iterator[bool]:
        """Hold the stage's lease; waits for another machine that computes it, takes over from one that died."""
        if stage in self.leases:
            yield False
            return

        def waiting(other: LeaseState) -> None:
            LOG.warning("%s: is being computed on %s; waiting for it", stage.name, other.host)

        key = f"{LEASES}/{CACHE}/{stage.name}.json"
        lease = leases.take(self.copy.store, key, self.copy.owner, patience=FOREVER, waiting=waiting)
        self.leases[stage] = lease
        try:
            yield True
        finally:
            del self.leases[stage]
            lease.release()

    def _manifest(self, stage: Path) -> Stored | None:
        """Return the stored manifest, None where there is none or it is to be replaced."""
        stored = self.copy.store.read(self._manifest_key(stage))
        return None if stored is None or stored.tag == self.spoilt.get(stage) else stored

    def _bring(self, stage: Path, stored: Stored) -> bool:
        """Fetch a stage, verify it and give it its place; False where it is damaged in the store: it may be replaced."""
        root = stage.parent
        root.mkdir(parents=True, exist_ok=True)
        mark(root, "stages")
        partial = root / f"{FETCHED}{uuid.uuid4().hex[:8]}"
        partial.mkdir()
        try:
            (partial / stage_manifest.FILE).write_bytes(stored.data)
            manifest = stage_manifest.find(partial)
            damaged: str | None = stage_manifest.FILE
            if manifest is not None:
                home = f"{self._key(stage)}/{digest_of(manifest.files)}"
                self._all(
                    lambda name: self.copy.store.download(f"{home}/{name}", partial / name), manifest.files
                )
                damaged = damaged_file(partial, manifest, thorough=True)
            if damaged is not None:
                LOG.warning("%s: %s is damaged there; the stage is stored anew",
                            self.copy.store.address(self._key(stage)), damaged)  # fmt: skip
                self.spoilt[stage] = stored.tag
                return False
            if stage.exists():
                shutil.rmtree(stage)
            partial.rename(stage)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        self._settled(stage)
        return True

    def _all(self, work: Callable[[str], object], files: Mapping[str, str]) -> None:
        """Call ``work`` for every file, some at once; the first error is raised."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(work, files):
                pass

    def _settled(self, stage: Path) -> None:
        """Note that here and there are the same, and make room where fetched stages take too much."""
        self.settled.add(stage)
        note_stored(stage, stored=True)
        space_of(self.copy.scratch).trim(self.copy.gigabytes * 1e9)

    def _key(self, stage: Path) -> str:
        return f"{CACHE}/{stage.name}"

    def _manifest_key(self, stage: Path) -> str:
        return f"{self._key(stage)}/{stage_manifest.FILE}"


def finished_stages(root: Path) -> FinishedStages:
    """Return where the finished stages of a cache lie."""
    copy = copy_in(root.parent)
    return LocalStages() if copy is None else StoredStages(copy)


def digest_of(files: Mapping[str, str]) -> str:
    """Return 16 hex digits that stand for the contents of a stage: names and checksums of its files."""
    return hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()[:16]


def _same(stored: Stored, stage: Path) -> bool:
    """Return whether a stored manifest names the same contents as the stage here."""
    there = stage_manifest.of_bytes(stored.data)
    return there is not None and there.files == stage_manifest.read(stage).files
