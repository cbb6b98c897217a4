"""The run folder in an object store: a lease for its one writer, its files fetched for readers."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import filelock

from engine.artifacts.json_text import parse_json
from engine.artifacts.run_layout import RunLayout
from engine.artifacts.secrets import masked, masking_logger
from engine.artifacts.whole_files import write_text
from engine.config import Config
from engine.config.places import is_url, url_problem
from engine.errors import ConfigError, DataError, StoreError
from engine.store import leases
from engine.store.finished_stages import LEASES
from engine.store.leases import HeldError, Lease, LeaseState
from engine.store.local_copy import LocalCopy, open_copy
from engine.store.object_store import FIRST_PAUSE
from engine.store.run_mirror import RunMirror, files_of, stamp

LOG = masking_logger("hardcase.store")
URL: Final = "s3://BUCKET/PREFIX/NAME"
READ_SECONDS: Final = 600.0
"""How long a reader waits for another of this machine, and reads a run again that changes while it is read."""
LONGEST_PAUSE: Final = 10.0


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """One run of a local copy: its folder here, and what lies in the store under its name."""

    copy: LocalCopy
    name: str

    @property
    def path(self) -> Path:
        """Its folder here."""
        return self.copy.folder / self.name

    @property
    def url(self) -> str:
        """Its address."""
        return self.copy.store.address(self.name)

    @property
    def lease_key(self) -> str:
        """Where its lease lies."""
        return f"{LEASES}/{self.name}.json"

    @contextmanager
    def written(self) -> Iterator[RunMirror]:
        """Hold the run as its one writer, with its folder here as the writer before left it.

        Raises:
            ConfigError: another process writes it.
            StoreError: the store refuses or is silent.
        """
        with self._alone_here():
            self.copy.store.check()
            lease = self._lease()
            try:
                mine = lease.before is not None and lease.before.owner == self.copy.owner
                if not mine or not RunLayout(self.path).config.exists():
                    self.pull()
                mirror = RunMirror(run=self, lease=lease)
                try:
                    yield mirror
                except Exception as error:
                    if not isinstance(error, StoreError):
                        with contextlib.suppress(StoreError):
                            mirror.push()
                    raise
                mirror.push()
            finally:
                lease.release()

    def fetch(self) -> Path:
        """Bring the run here for reading and return its folder; one that this machine writes is here already.

        Raises:
            DataError: there is no such run.
            StoreError: the store refuses or is silent.
        """
        state = LeaseState.of(self.copy.store.read(self.lease_key))
        if state is not None and state.owner == self.copy.owner and RunLayout(self.path).config.exists():
            return self.path
        with self._alone_here(READ_SECONDS):
            self.pull()
        if not RunLayout(self.path).config.is_file():
            raise DataError(f"{self.url}: no run lies there (config.yaml is missing); give {URL}")
        return self.path

    def pull(self) -> None:
        """Make the folder here what is stored; a run that is being written is read until nothing changes meanwhile."""
        before = self.copy.store.list(self.name)
        if not before:  # nothing was stored yet: what is here stays
            return
        until, pause = time.monotonic() + READ_SECONDS, FIRST_PAUSE
        while True:
            self._fetch_all(before)
            after = self.copy.store.list(self.name)
            if after == before:
                return
            if time.monotonic() > until:
                raise StoreError(
                    f"{self.url}: has changed for {READ_SECONDS:.0f} s while it was read; try again"
                )
            before = after
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _fetch_all(self, stored: dict[str, str]) -> None:
        known = self.known()
        for name in files_of(self.path).keys() - stored.keys():
            (self.path / name).unlink()
        for name, tag in stored.items():
            target = self.path / name
            if known.get(name) == (tag, *stamp(target)):
                continue
            partial = target.with_name(f".{target.name}.fetched.partial")
            if self.copy.store.download(f"{self.name}/{name}", partial):
                partial.replace(target)
                known[name] = (tag, *stamp(target))
        self.remember(known)

    def known(self) -> dict[str, tuple[str, int, int]]:
        """Return {file: tag in the store, bytes here, time here in ns} as both were when they were last the same."""
        try:
            found = parse_json(self._known_file.read_text(encoding="utf-8"))
            return {name: (tag, size, time) for name, (tag, size, time) in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}  # then everything travels again

    def remember(self, known: Mapping[str, tuple[str, int, int]]) -> None:
        """Write what ``known`` returns."""
        write_text(self._known_file, json.dumps(known))

    @property
    def _known_file(self) -> Path:
        return self.copy.folder / f".{self.name}.known.json"

    @contextmanager
    def _alone_here(self, patience: float = 0.0) -> Iterator[None]:
        """Keep other processes of this machine away, which share its id in leases; wait ``patience`` seconds for one."""
        lock = filelock.FileLock(self.copy.folder / f".{self.name}.lock")
        try:
            lock.acquire(timeout=patience)
        except filelock.Timeout:
            raise ConfigError(
                f"{self.url}: another hardcase process of this machine writes or fetches this run; wait for it, or give "
                "name=OTHER"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _lease(self) -> Lease:
        try:
            return leases.take(
                self.copy.store, self.lease_key, self.copy.owner, patience=None, waiting=self._say_waiting
            )
        except HeldError as error:
            raise ConfigError(
                f"{self.url}: is being written on {error.state.host} (its lease lasts {leases.SECONDS:.0f} s from each sign "
                "of life); wait for it, or give name=OTHER"
            ) from None

    def _say_waiting(self, state: LeaseState) -> None:
        LOG.warning(
            "%s: was written on %s; waiting up to %.0f s for a sign of life",
            self.url,
            state.host,
            state.seconds,
        )


@contextmanager
def stored_run(config: Config) -> Iterator[RunMirror | None]:
    """Hold the run of a config in its object store as its one writer; None, and nothing is done, for a folder."""
    if not is_url(config.output):
        yield None
        return
    copy = open_copy(config.output, config.backend.scratch, config.backend.scratch_gb)
    with StoredRun(copy=copy, name=config.name).written() as mirror:
        yield mirror


def run_at(url: str) -> StoredRun:
    """Return the run at ``s3://BUCKET/PREFIX/NAME`` (ConfigError: no run can lie there)."""
    home, _, name = url.rstrip("/").rpartition("/")
    if problem := url_problem(home):
        raise ConfigError(
            f"{masked(url)}: {problem}" if is_url(home) else f"{masked(url)}: names no run; give {URL}"
        )
    return StoredRun(copy=open_copy(home), name=name)
