"""The run folder: config, lock, which stage folder plays which role, and what is published for people."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock

from engine.artifacts import champion, report_json, run_stages, stage_manifest
from engine.artifacts.champion import Champion
from engine.artifacts.own_output import mark
from engine.artifacts.run_layout import RunLayout
from engine.artifacts.run_links import refuse_links_out
from engine.artifacts.run_stages import StageLine
from engine.artifacts.secrets import masked
from engine.artifacts.stage_manifest import StageManifest
from engine.config import Config, dump_yaml, read_tree
from engine.config.known_keys import section_at
from engine.config.places import url_of
from engine.errors import ConfigError, DamagedError, DataError
from engine.store.cache import StageFolder
from engine.store.files import check_output, ensure_writable
from engine.store.finished_stages import finished_stages
from engine.store.kept_files import read_config
from engine.store.local_copy import open_output
from engine.store.verified import PublishedFiles, damaged_file

CHECKED_WHEN_OPENED = (".json", ".parquet", ".yaml")
"""Files of a run folder that are small; weights and pictures are checked by who reads them."""
INDIFFERENT = ("output", "tracking", "search_space", "tune", "backend.kind", "backend.address", "backend.train_workers",
               "backend.map_workers", "backend.gpus_per_worker", "backend.stages_at_once", "backend.checkpoint_minutes",
               "backend.shard_optimizer", "backend.scratch", "backend.scratch_gb", "data.root", "data.images",
               "data.unlabelled_images", "data.workers")  # fmt: skip
"""Keys that may change between a run and its rerun: they say where or how fast, not what."""
CLAIM_SECONDS = 5.0
"""How long to wait for another process that makes the same folder: it writes one file."""


@dataclass(frozen=True)
class RunFolder:
    """``<output>/<name>/`` of DESIGN's contract; ``roles`` maps a role to ``<stage>-<key>`` in the cache."""

    path: Path
    config: Config
    roles: dict[str, str] = field(default_factory=dict)
    verified: set[Path] = field(default_factory=set, compare=False)

    @classmethod
    def create(cls, config: Config) -> RunFolder:
        """Make or reopen the folder of ``config``; one in which no round was finished takes another config.

        Raises:
            DataError: the output is not writable, or the folder's config.yaml or stages.json is broken.
            ConfigError: a run of that name was made by another config (names the keys that differ), or is being written.
        """
        check_output(config.output)
        path = open_output(config) / config.name
        ensure_writable(path.parent)
        refuse_links_out(path)
        if report_json.schema_of(path) < report_json.SCHEMA_VERSION and has_results(path):
            raise ConfigError(
                f"{path}: was made by an earlier hardcase, in which arm real trained with flips alone; it stays readable, "
                "but cannot go on: give name=OTHER"
            )
        if not RunLayout(path).config.exists():
            ensure_writable(path)
            cls(path, config)._claim()
        elif changed := _changes_since(path, config):
            if has_results(path):
                more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
                raise ConfigError(
                    f"{path}: was made by another config: {', '.join(changed[:3])}{more}; "
                    "give name=OTHER, or the same values to resume it"
                )
            cls(path, config)._take_over()
        mark(path, "run")
        return cls(path, config, run_stages.read_if_written(path))

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open a folder made by `hardcase run`, its tables and JSON held against their checksums.

        Raises:
            DataError: it is none, or a file in it is damaged (named, with the command that makes it again).
        """
        layout = RunLayout(path)
        if url := url_of(path):
            raise ConfigError(
                f"{masked(url)}: this command works in a run folder on this machine; bring the run here with "
                f"`hardcase fetch {masked(url)} DIR`, then give DIR/{layout.path.name}"
            )
        if not layout.config.is_file():
            raise DataError(
                f"{path}: no run folder (config.yaml is missing); give the folder `hardcase run` printed"
            )
        refuse_links_out(path)
        PublishedFiles(path).verify(suffixes=CHECKED_WHEN_OPENED)
        config = read_config(layout.config)
        if not layout.roles.exists():
            raise DataError(
                f"{path}: the run has not finished a stage yet; rerun `hardcase run` to resume it"
            )
        return cls(path, config, run_stages.read(path))

    @property
    def layout(self) -> RunLayout:
        """Where its files lie."""
        return RunLayout(self.path)

    def _claim(self) -> None:
        """Make a new folder this config's; of two that begin at once the second finds the first one's.

        Raises:
            ConfigError: another process has made it its own, or writes it already.
        """
        lock = self.lock(CLAIM_SECONDS)
        try:
            if not self.layout.config.exists():
                _write_config(self.path, self.config)
        finally:
            lock.release()
        if changed := _changes_since(self.path, self.config):
            raise self._begun_by_another(changed)

    def _begun_by_another(self, changed: Sequence[str]) -> ConfigError:
        return ConfigError(
            f"{self.path}: another process began a run of this name at the same time, with another config "
            f"({', '.join(changed[:3])}); give name=OTHER"
        )

    def _take_over(self) -> None:
        """Make the folder this config's; the stages of the config before stay in the cache, under keys of their own."""
        lock = self.lock()
        try:
            for path in self.layout.of_an_attempt:
                path.unlink(missing_ok=True)
            _write_config(self.path, self.config)
        finally:
            lock.release()

    def lock(self, patience: float = 0.0) -> filelock.FileLock:
        """Take the run's lock (one writer a run), waiting ``patience`` seconds; a dead owner's is taken over.

        Raises:
            ConfigError: another process holds it.
        """
        lock = filelock.FileLock(self.layout.lock)
        try:
            lock.acquire(timeout=patience)
            return lock
        except filelock.Timeout:
            raise ConfigError(
                f"{self.path}: another hardcase process is writing this run; wait for it, or give name=OTHER"
            ) from None

    def begin(self) -> filelock.FileLock:
        """Take the lock of a run that starts now; two of one name and different configs cannot both have made the folder.

        Raises:
            ConfigError: another process holds it, or has made the folder its own since this one looked.
        """
        lock = self.lock()
        changed = _changes_since(self.path, self.config)
        if changed:
            lock.release()
            raise self._begun_by_another(changed)
        return lock

    @property
    def cache_root(self) -> Path:
        """Where the stage cache lies: beside the run folders, shared by all runs of one output and the trials of sweeps."""
        return self.layout.cache

    def record(self, role: str, folder: StageFolder) -> StageFolder:
        """Remember which stage folder plays ``role``; append to ``stages.jsonl`` whether it was run or reused."""
        self.roles[role] = f"{folder.name}-{folder.key}"
        PublishedFiles(self.path).write(self.layout.roles, run_stages.text(self.roles))
        seconds = round(folder.seconds, 3)
        line = StageLine(
            role=role, stage=folder.name, key=folder.key, ran=not folder.cached, seconds=seconds,
            failed=folder.failed,
        )  # fmt: skip
        run_stages.append(line, self.path)
        return folder

    def stage(self, role: str) -> StageFolder:
        """Return the stage folder of a role such as ``foundation/vae`` or ``rounds/0001/hard/classifier``.

        Sizes are compared each time, checksums once per process.

        Raises:
            DataError: the run has no such stage, or the cache was removed.
            DamagedError: a file of the stage differs from its manifest; named with the command that makes it again.
        """
        if role not in self.roles:
            raise DataError(f"{self.path}: has no {role}; known: {', '.join(sorted(self.roles))}")
        path = self.cache_root / self.roles[role]
        finished_stages(self.cache_root).fetch(path)
        if not StageManifest.present(path):
            raise DataError(
                f"{path}: the stage cache of {self.path} is gone; rerun `hardcase run` to compute it again"
            )
        manifest = stage_manifest.find(path)
        damaged: str | None = stage_manifest.FILE
        if manifest is not None:
            damaged = damaged_file(path, manifest, thorough=path not in self.verified)
        if manifest is None or damaged is not None:
            again = f"hardcase run {shlex.quote(str(self.layout.config))}"
            raise DamagedError(f"{path / str(damaged)}: is damaged; run `{again}` to compute {role} again")
        self.verified.add(path)
        name, _, key = self.roles[role].rpartition("-")
        return StageFolder(name=name, key=key, path=path, seconds=manifest.seconds, cached=True)

    def whole(self, path: Path) -> Path:
        """Return a published file (weights, a picture) after its checksum was compared; DamagedError where it differs."""
        PublishedFiles(self.path).verify([self.layout.relative(path)])
        return path

    def champion(self) -> Champion:
        """Return the run's champion; DataError where it crowned none or champion.json is broken."""
        return champion.read(self.path)

    def arm_folder(self, round_number: int, arm: str) -> Path:
        """Return where (round, arm) is published: the round's folder for its main arm, ``arms/<arm>`` otherwise."""
        return self.layout.arm_folder(round_number, arm)


def _write_config(run: Path, config: Config) -> None:
    PublishedFiles(run).write(RunLayout(run).config, dump_yaml(config))


def flat_config(config: Config) -> dict[str, Any]:
    """Return {dotted key: value} of every key that decides what is computed."""
    flat = _flatten(config.model_dump(mode="json"))
    return {key: value for key, value in flat.items() if not _indifferent(key) and key != "name"}


def has_results(path: Path) -> bool:
    """Return whether a run folder holds what a person may want to keep: a finished round, or a sweep's trials."""
    layout = RunLayout(path)
    return layout.is_sweep or any(layout.rounds.glob("*")) or report_json.names_rounds(path)


def _changes_since(path: Path, config: Config) -> list[str]:
    try:
        before = read_tree(RunLayout(path).config)
    except ConfigError as error:
        raise DataError(f"{error}; or remove {path}, or give name=OTHER") from None
    return config_changes(before, config.model_dump(mode="json"))


def config_changes(
    before: Mapping[str, Any], now: Mapping[str, Any], besides: Sequence[str] = ()
) -> list[str]:
    """Return the keys that decide what is computed and differ between two config trees, each with both whole values.

    ``besides``: further keys that may differ.
    """
    old, new = _sections_only(before), _sections_only(now)
    return [
        f"{key} ({old.get(key)!r} there, {new.get(key)!r} now)"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not _indifferent(key) and key not in besides
    ]


def _indifferent(key: str) -> bool:
    return any(key == name or key.startswith(name + ".") for name in INDIFFERENT)


def _sections_only(tree: Mapping[str, Any], prefix: tuple[str, ...] = ()) -> dict[str, Any]:
    """Flatten the schema's sections and nothing else: what a user's mapping holds is one value.

    A key that a section lacks has its default: the key may be younger than the file.
    """
    flat: dict[str, Any] = {}
    section = section_at(prefix)
    for key, value in {**(section.defaults() if section is not None else {}), **tree}.items():
        path = (*prefix, str(key))
        if isinstance(value, Mapping) and section_at(path) is not None:
            flat |= _sections_only(value, path)
        else:
            flat[".".join(path)] = value
    return flat


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
