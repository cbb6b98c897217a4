"""The stage cache: each finished stage is a folder keyed by everything it depends on, and is never run again."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import filelock

from engine.artifacts import stage_manifest
from engine.artifacts.own_output import mark
from engine.artifacts.stage_manifest import StageManifest
from engine.execution.backend import Backend, StageCall
from engine.stages.base import P, Stage
from engine.store.attempt_folders import AttemptFolder, StagePlace, stage_lock
from engine.store.attempting import attempted
from engine.store.files import checksums
from engine.store.finished_stages import FinishedStages, finished_stages
from engine.store.verified import damaged_file, sizes_of
from engine.types import Failure

UNKEYED = frozenset(
    {("data", "root"), ("data", "images"), ("data", "unlabelled_images"), ("data", "workers")}
)
"""Params that say where or how fast, not what: the fingerprint of the data stands for its root and its images' folder."""


@dataclass(frozen=True, kw_only=True)
class StageFolder:
    """A finished stage: its folder, the seconds its computation took, and whether this process found it ready.

    ``failed``: the attempts of this process that failed before the one that finished it.
    """

    name: str
    key: str
    path: Path
    seconds: float
    cached: bool
    failed: tuple[Failure, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether it can be read without waiting; a stage that runs beside others may be still to come."""
        return True


class Listener(Protocol):
    """Hears what the runner does: a progress display, a log. Several stages may run at once, told apart by their keys."""

    def stage_started(self, name: str, key: str) -> None:
        """Say that a stage runs now (it was not in the cache)."""
        ...

    def progress(self, key: str, what: str, done: int, total: int) -> None:
        """Say how far a running stage is."""
        ...

    def stage_finished(self, folder: StageFolder) -> None:
        """Say that a stage is there, computed or found."""
        ...


def stage_key(
    name: str,
    *,
    version: int,
    params: Mapping[str, Any],
    seed: int,
    threads: int,
    device: str,
    precision: str,
    inputs: Mapping[str, str],
) -> str:
    """Hash everything a stage's output depends on; the backend is not part of it, nor where the data lies."""
    recipe = {
        "stage": name,
        "version": version,
        "params": _keyed(params),
        "seed": seed,
        "threads": threads,
        "device": device.split(":", maxsplit=1)[0],
        "precision": precision,
        "inputs": dict(sorted(inputs.items())),
    }
    text = json.dumps(recipe, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _keyed(params: Mapping[str, Any]) -> dict[str, Any]:
    return {
        section: {k: v for k, v in value.items() if (section, k) not in UNKEYED}
        if isinstance(value, Mapping)
        else value
        for section, value in params.items()
    }


@dataclass(frozen=True)
class StageCache:
    """Folders ``<root>/<stage>-<key>/``, each with a manifest of checksums; safe for several runs at once."""

    root: Path
    verified: dict[Path, StageFolder] = field(default_factory=dict)

    @cached_property
    def finished(self) -> FinishedStages:
        """Where finished stages lie besides."""
        return finished_stages(self.root)

    def find(self, name: str, key: str) -> StageFolder | None:
        """Return the finished folder, sizes compared each time, checksums once; None where absent or damaged."""
        found = self._found(name, key)
        path = self._place(name, key).final
        if self.finished.settle(path, sound=found is not None):
            self.verified.pop(path, None)
            found = self._found(name, key)
        return found

    def _found(self, name: str, key: str) -> StageFolder | None:
        path = self._place(name, key).final
        manifest = stage_manifest.find(path)
        if manifest is None or damaged_file(path, manifest, thorough=path not in self.verified) is not None:
            self.verified.pop(path, None)
            return None
        if path in self.verified:
            return replace(self.verified[path], cached=True)
        folder = StageFolder(name=name, key=key, path=path, seconds=manifest.seconds, cached=True)
        self.verified[path] = folder
        return folder

    def fill(
        self, name: str, key: str, recipe: Mapping[str, Any], work: Callable[[AttemptFolder, int], None]
    ) -> StageFolder:
        """Call ``work(attempt, halvings)`` until an attempt succeeds or is given up, and rename its output into place.

        A killed training goes on from the checkpoints of the attempt before.

        Raises:
            FullDiskError, MachineError: the machine stopped it, whatever library found out.
            StageError: workers or nodes were lost too often.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        mark(self.root, "stages")
        with self.finished.held(self._place(name, key).final) as shared:
            ready = self.find(name, key) if shared else None  # of another machine that held it before
            return ready or self._fill(name, key, recipe, work)

    def _fill(
        self, name: str, key: str, recipe: Mapping[str, Any], work: Callable[[AttemptFolder, int], None]
    ) -> StageFolder:
        place, start = self._place(name, key), time.perf_counter()
        seconds = 0.0

        def whole(attempt: AttemptFolder, halvings: int) -> None:
            nonlocal seconds
            work(attempt, halvings)
            seconds = time.perf_counter() - start
            _write_manifest(attempt.out, {**recipe, "key": key, "seconds": seconds})

        attempt, failed = attempted(place, name, whole)
        ready = self._found(name, key)
        if ready is not None:  # of a process that lost its lock, or of one that took it from this one
            place.forget_attempts()
            return ready
        place.publish(attempt)
        if self.finished.publish(place.final) and (ready := self._found(name, key)) is not None:
            return ready
        folder = StageFolder(
            name=name, key=key, path=place.final, seconds=seconds, cached=False, failed=failed
        )
        self.verified[place.final] = folder
        return folder

    def forget(self, name: str, key: str) -> None:
        """Drop a finished folder and its checkpoints."""
        place = self._place(name, key)
        self.verified.pop(place.final, None)
        self.finished.forget(place.final)
        shutil.rmtree(place.final, ignore_errors=True)
        place.forget_attempts()

    def tidy(self, name: str, key: str) -> None:
        """Remove what a worker that was given up has written beside a finished stage."""
        self._place(name, key).forget_attempts()

    def _place(self, name: str, key: str) -> StagePlace:
        return StagePlace(final=self.root / f"{name}-{key}")

    def lock(self, name: str, key: str) -> filelock.FileLock:
        """Return the lock that one writer of this stage holds; the system frees it when its owner dies."""
        return stage_lock(self._place(name, key).final)


def _key(recipe: Mapping[str, Any]) -> str:
    return stage_key(recipe["stage"], **{k: v for k, v in recipe.items() if k != "stage"})


def _write_manifest(out: Path, recipe: Mapping[str, Any]) -> None:
    files = checksums(out)
    manifest = StageManifest(**recipe, files=files, sizes=sizes_of(out, files))
    stage_manifest.write(manifest.sealed(), out)


@dataclass(frozen=True)
class StageRunner:
    """Runs stages through the cache on a backend: ``runner(vae.STAGE, vae.Params.of(config), inputs=..., seed=...)``."""

    cache: StageCache
    backend: Backend
    threads: int
    device: str
    precision: str
    listener: Listener
    fresh: bool = False
    done: dict[str, StageFolder] = field(default_factory=dict)
    slot: Callable[[], AbstractContextManager[None]] = nullcontext
    """Held while a stage is computed, where stages run side by side; the wait for it is no part of the stage's seconds."""

    def __call__(
        self,
        stage: Stage[P],
        params: P,
        *,
        inputs: Mapping[str, StageFolder] | None = None,
        seed: int = 0,
    ) -> StageFolder:
        """Return the stage's finished folder, computing it where the cache does not hold it.

        Raises:
            StageError: the stage is not given the inputs it needs.
        """
        inputs = inputs or {}
        name, recipe = stage.name, self._recipe(stage, params, inputs, seed)
        key = _key(recipe)
        with self.cache.lock(name, key):
            if self.fresh and key not in self.done:
                self.cache.forget(name, key)
            folder = self.cache.find(name, key)
            if folder is None:
                with self.slot():
                    self.listener.stage_started(name, key)
                    folder = self.cache.fill(name, key, recipe, self._work(key, recipe, inputs))
            else:
                self.cache.tidy(name, key)
        self.done[key] = folder
        self.listener.stage_finished(folder)
        return folder

    def key(self, stage: Stage[P], params: P, *, inputs: Mapping[str, StageFolder], seed: int = 0) -> str:
        """Return the key under which the cache keeps the stage; only the keys of its inputs are looked at.

        Raises:
            StageError: the stage is not given the inputs it needs.
        """
        return _key(self._recipe(stage, params, inputs, seed))

    def _recipe(
        self, stage: Stage[P], params: P, inputs: Mapping[str, StageFolder], seed: int
    ) -> dict[str, Any]:
        stage.check_inputs(inputs)
        return {
            "stage": stage.name,
            "version": stage.version,
            "params": params.to_json(),
            "seed": seed,
            "threads": self.threads,
            "device": self.device,
            "precision": self.precision,
            "inputs": {role: folder.key for role, folder in inputs.items()},
        }

    def _work(
        self, key: str, recipe: Mapping[str, Any], inputs: Mapping[str, StageFolder]
    ) -> Callable[[AttemptFolder, int], None]:
        def work(attempt: AttemptFolder, halvings: int) -> None:
            call = StageCall(
                stage=recipe["stage"],
                out=attempt.out.resolve(),
                inputs={role: folder.path.resolve() for role, folder in inputs.items()},
                params=recipe["params"],
                seed=recipe["seed"],
                threads=self.threads,
                device=self.device,
                precision=self.precision,
                checkpoint=attempt.checkpoint.resolve(),
                halvings=halvings,
            )
            self.backend.run(call, partial(self.listener.progress, key))

        return work
