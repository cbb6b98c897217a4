"""The stage cache: each finished stage is a folder keyed by everything it depends on, and is never run again."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import filelock

from engine.artifacts import stage_manifest
from engine.artifacts.machine_faults import mendable
from engine.artifacts.own_output import mark
from engine.artifacts.stage_manifest import StageManifest
from engine.errors import HardcaseError
from engine.execution.backend import Backend, StageCall
from engine.stages import find
from engine.stages.base import P, Stage
from engine.store.files import checksums
from engine.store.verified import damaged_file, sizes_of

UNKEYED = frozenset(
    {("data", "root"), ("data", "images"), ("data", "unlabelled_images"), ("data", "workers")}
)
"""Params that say where or how fast, not what: the fingerprint of the data stands for its root and its images' folder."""


@dataclass(frozen=True, kw_only=True)
class StageFolder:
    """A finished stage: its folder, the seconds its computation took, and whether this process found it ready."""

    name: str
    key: str
    path: Path
    seconds: float
    cached: bool


class Listener(Protocol):
    """Hears what the runner does: a progress display, a log."""

    def stage_started(self, name: str) -> None:
        """Say that a stage runs now (it was not in the cache)."""
        ...

    def progress(self, what: str, done: int, total: int) -> None:
        """Say how far the running stage is."""
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

    def find(self, name: str, key: str) -> StageFolder | None:
        """Return the finished folder, sizes compared each time, checksums once; None where absent or damaged."""
        path = self.root / f"{name}-{key}"
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
        self, name: str, key: str, recipe: Mapping[str, Any], work: Callable[[Path, Path], None]
    ) -> StageFolder:
        """Run ``work(out, checkpoint)`` in a folder of its own and rename it into place.

        ``checkpoint`` is the same folder for every attempt, so that a killed training goes on; it is removed at
        the end. Folders that earlier attempts left half written are removed first.

        Raises:
            FullDiskError, MachineError: the machine stopped it, whatever library found out.
        """
        final, out = self.root / f"{name}-{key}", self.root / f"{name}-{key}.tmp-{uuid.uuid4().hex[:8]}"
        checkpoint = self.root / f"{name}-{key}.checkpoint"
        for stale in self.root.glob(f"{name}-{key}.tmp-*"):
            shutil.rmtree(stale, ignore_errors=True)
        out.mkdir(parents=True)
        mark(self.root, "stages")
        checkpoint.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        try:
            work(out, checkpoint)
            seconds = time.perf_counter() - start
            _write_manifest(out, {**recipe, "key": key, "seconds": seconds})
        except BaseException as error:
            shutil.rmtree(out, ignore_errors=True)
            if not isinstance(error, Exception) or isinstance(error, HardcaseError):
                raise
            found = mendable(error, f"stage {name}", find(name).saving, final)
            if found is None:
                raise
            raise found from error
        if final.exists():
            shutil.rmtree(final)
        out.replace(final)
        shutil.rmtree(checkpoint, ignore_errors=True)
        folder = StageFolder(name=name, key=key, path=final, seconds=seconds, cached=False)
        self.verified[final] = folder
        return folder

    def forget(self, name: str, key: str) -> None:
        """Drop a finished folder and its checkpoints."""
        self.verified.pop(self.root / f"{name}-{key}", None)
        shutil.rmtree(self.root / f"{name}-{key}", ignore_errors=True)
        shutil.rmtree(self.root / f"{name}-{key}.checkpoint", ignore_errors=True)

    def lock(self, name: str, key: str) -> filelock.FileLock:
        """Return the lock that one writer of this stage holds; the system frees it when its owner dies."""
        folder = self.root / ".locks"
        folder.mkdir(parents=True, exist_ok=True)
        return filelock.FileLock(folder / f"{name}-{key}.lock")


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
        stage.check_inputs(inputs)
        name, tree = stage.name, params.to_json()
        recipe: dict[str, Any] = {
            "stage": name,
            "version": stage.version,
            "params": tree,
            "seed": seed,
            "threads": self.threads,
            "device": self.device,
            "precision": self.precision,
            "inputs": {role: folder.key for role, folder in inputs.items()},
        }
        key = stage_key(name, **{k: v for k, v in recipe.items() if k != "stage"})
        with self.cache.lock(name, key):
            if self.fresh and key not in self.done:
                self.cache.forget(name, key)
            folder = self.cache.find(name, key)
            if folder is None:
                self.listener.stage_started(name)
                folder = self.cache.fill(name, key, recipe, self._work(name, tree, inputs, seed))
        self.done[key] = folder
        self.listener.stage_finished(folder)
        return folder

    def _work(
        self, stage: str, params: Mapping[str, Any], inputs: Mapping[str, StageFolder], seed: int
    ) -> Callable[[Path, Path], None]:
        def work(out: Path, checkpoint: Path) -> None:
            call = StageCall(
                stage=stage,
                out=out.resolve(),
                inputs={role: folder.path.resolve() for role, folder in inputs.items()},
                params=params,
                seed=seed,
                threads=self.threads,
                device=self.device,
                precision=self.precision,
                checkpoint=checkpoint.resolve(),
            )
            self.backend.run(call, self.listener.progress)

        return work
