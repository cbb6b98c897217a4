"""An object store through fsspec: whole objects, conditional writes, bounded retries, one clear error."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, Final, TypeVar

from engine.artifacts.secrets import masked, masking_logger
from engine.config.places import url_problem
from engine.errors import ConfigError, HardcaseError, StoreError
from engine.store.store_answers import ChangedError, answered, no_bucket, one_line, refusal

LOG = masking_logger("hardcase.store")
T = TypeVar("T")

PATIENCE: Final = 90.0
"""Seconds of an outage that one request outlives."""
FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 10.0
CONNECT_SECONDS: Final = 10.0
READ_SECONDS: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The bytes of an object, and the tag of this version of it."""

    data: bytes
    tag: str


@dataclass(frozen=True)
class ObjectStore:
    """What lies below ``s3://bucket/prefix``; every key is relative to it, with slashes.

    ``patience``: seconds for which a request that fails for a passing reason is made again.
    """

    url: str
    patience: float = field(default_factory=lambda: PATIENCE)

    def __post_init__(self) -> None:
        """Refuse an address that no run can lie at (ConfigError)."""
        if problem := url_problem(self.url):
            raise ConfigError(f"output: {masked(self.url)} {problem}")

    def address(self, key: str) -> str:
        """Return the URL of a key."""
        return f"{self.url.rstrip('/')}/{key}"

    def check(self) -> None:
        """Prove that objects can be written, and that the server holds to the conditions of a write.

        Raises:
            StoreError: it cannot be reached, refuses, or ignores conditions (two drivers could replace each other's work).
        """
        key = f".probe-{os.getpid()}-{time.time_ns():x}"
        self.write(key, b"1", new=True)
        try:
            self.write(key, b"2", new=True)
        except ChangedError:
            return
        finally:
            self.remove(key)
        raise StoreError(
            f"{self.url}: the server ignores the condition of a write (If-None-Match), so two runs could replace each "
            "other's stages; use a server that knows conditional writes"
        )

    def read(self, key: str) -> Stored | None:
        """Return an object, None where there is none."""

        def work() -> Stored | None:
            try:
                with self._files.open(self._path(key), "rb") as handle:
                    return Stored(data=handle.read(), tag=str(handle.details["ETag"]))
            except FileNotFoundError as error:
                if no_bucket(error):
                    raise
                return None

        return self._lasting(key, work)

    def tag(self, key: str) -> str | None:
        """Return the tag of an object's version, None where there is no such object."""

        def work() -> str | None:
            try:
                return str(self._files.info(self._path(key))["ETag"])
            except FileNotFoundError as error:
                if no_bucket(error):
                    raise
                return None

        return self._lasting(key, work)

    def write(
        self,
        key: str,
        data: bytes,
        *,
        new: bool = False,
        replacing: str | None = None,
        patience: float | None = None,
    ) -> str:
        """Write an object and return its tag.

        Args:
            key: which.
            data: its bytes.
            new: only where there is none (If-None-Match: *).
            replacing: only over the version of this tag (If-Match).
            patience: another than the store's.

        Raises:
            ChangedError: the condition does not hold, and what is there is something else than ``data``.
        """
        condition = {"IfNoneMatch": "*"} if new else {"IfMatch": replacing} if replacing is not None else {}
        try:
            put = partial(self._files.pipe_file, self._path(key), data, **condition)
            done = self._lasting(key, put, patience)
        except ChangedError:
            there = self.read(key)
            if there is not None and there.data == data:  # our own write, whose answer was lost
                return there.tag
            raise
        return str(done["ETag"])

    def upload(self, source: Path, key: str) -> None:
        """Copy a file into the store."""
        self._lasting(key, lambda: self._files.put_file(str(source), self._path(key)))

    def download(self, key: str, target: Path) -> bool:
        """Copy an object into a file, its folder made; False where there is no such object."""
        target.parent.mkdir(parents=True, exist_ok=True)

        def work() -> bool:
            try:
                self._files.get_file(self._path(key), str(target))
            except FileNotFoundError as error:
                if no_bucket(error) or not answered(error):  # then it is the file here
                    raise
                return False
            return True

        return self._lasting(key, work)

    def remove(self, key: str) -> None:
        """Remove an object; one that is gone already is no error."""
        self._lasting(key, lambda: self._files.rm_file(self._path(key)))

    def list(self, folder: str) -> dict[str, str]:
        """Return {key relative to ``folder``: tag} of every object below a folder."""
        root = self._path(folder).rstrip("/") + "/"

        def work() -> dict[str, str]:
            found = self._files.find(root, detail=True, refresh=True)
            return {name.removeprefix(root): str(info["ETag"]) for name, info in sorted(found.items())}

        return self._lasting(folder, work)

    def _path(self, key: str) -> str:
        return self.address(key).removeprefix("s3://")

    @cached_property
    def _files(self) -> Any:
        """The file system, which tries everything once: how often is decided here."""
        try:
            import fsspec
            import s3fs  # noqa: F401  (fsspec would name another package in its message)
        except ImportError:
            raise ConfigError(
                f"output: {self.url} needs s3fs; install it with `pip install 'hardcase[s3]'`, or give a folder"
            ) from None
        once = {"max_attempts": 1, "mode": "standard"}
        files = fsspec.filesystem(
            "s3",
            skip_instance_cache=True,
            use_listings_cache=False,
            config_kwargs={"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS, "retries": once},
        )
        files.retries = 1
        return files

    def _lasting(self, key: str, work: Callable[[], T], patience: float | None = None) -> T:
        """Call ``work`` until it succeeds, is refused, or has failed for ``patience`` seconds."""
        patience = self.patience if patience is None else patience
        began, pause, said = time.monotonic(), FIRST_PAUSE, False
        while True:
            try:
                return work()
            except HardcaseError:
                raise
            except Exception as error:
                refused = refusal(self.url, error)
                if refused is not None:
                    raise refused from error
                if time.monotonic() - began + pause > patience:
                    raise StoreError(
                        f"{self.address(key)}: the object store has not answered for {patience:.0f} s "
                        f"({one_line(error)}); what was finished is kept on this machine, and the same command goes on"
                    ) from error
                if not said:
                    LOG.warning("%s: %s; trying for %.0f s", self.address(key), one_line(error), patience)
                    said = True
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


@cache
def open_store(url: str) -> ObjectStore:
    """Return the store of a URL, one per process: its connections are shared."""
    return ObjectStore(url)
