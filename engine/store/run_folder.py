"""The run folder: config, lock, which stage folder plays which role, and what is published for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock
import yaml

from engine.config import Config, dump_yaml
from engine.errors import ConfigError, DataError
from engine.store.cache import MANIFEST, StageFolder
from engine.store.files import ensure_writable, read_json, write_json
from engine.whole_files import write_text

INDIFFERENT = ("output", "tracking", "search_space", "tune", "backend.kind", "backend.address", "backend.train_workers",
               "backend.map_workers", "backend.gpus_per_worker", "data.root", "data.workers")  # fmt: skip
"""Keys that may change between a run and its rerun: they say where or how fast, not what."""
JOURNAL, TRIALS = "journal.jsonl", "trials"
"""What marks the folder of a sweep, and where its trials lie, each an ordinary run folder."""


@dataclass(frozen=True)
class RunFolder:
    """``<output>/<name>/`` of DESIGN's contract; ``roles`` maps a role to ``<stage>-<key>`` in the cache."""

    path: Path
    config: Config
    roles: dict[str, str] = field(default_factory=dict)

    @classmethod
    def create(cls, config: Config) -> RunFolder:
        """Make or reopen the folder of ``config``.

        Raises:
            DataError: the output is not writable.
            ConfigError: a run of that name was made by another config; names the keys that differ.
        """
        if "://" in config.output:
            raise ConfigError(
                f"output: {config.output} is a URL; give a folder that every worker can reach (a shared or mounted disk)"
            )
        path = Path(config.output) / config.name
        ensure_writable(path.parent)
        if (path / "config.yaml").exists():
            _refuse_other_config(path, config)
        else:
            ensure_writable(path)
            write_text(path / "config.yaml", dump_yaml(config))
        roles = read_json(path / "stages.json") if (path / "stages.json").exists() else {}
        return cls(path, config, roles)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open a folder made by `hardcase run`; DataError where it is none."""
        if not (path / "config.yaml").is_file():
            raise DataError(
                f"{path}: no run folder (config.yaml is missing); give the folder `hardcase run` printed"
            )
        try:
            config = Config.model_validate(yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8")))
        except ValueError as error:
            raise DataError(
                f"{path / 'config.yaml'}: made by another version of hardcase ({error})"
            ) from None
        if not (path / "stages.json").exists():
            raise DataError(
                f"{path}: the run has not finished a stage yet; rerun `hardcase run` to resume it"
            )
        return cls(path, config, read_json(path / "stages.json"))

    def lock(self, patience: float = 0.0) -> filelock.FileLock:
        """Take the run's lock (one writer a run), waiting ``patience`` seconds; a dead owner's is taken over.

        Raises:
            ConfigError: another process holds it.
        """
        lock = filelock.FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=patience)
            return lock
        except filelock.Timeout:
            raise ConfigError(
                f"{self.path}: another hardcase process is writing this run; wait for it, or give name=OTHER"
            ) from None

    @property
    def cache_root(self) -> Path:
        """Where the stage cache lies: beside the run folders, shared by all runs of one output and the trials of sweeps."""
        home = self.path.parent
        is_trial = home.name == TRIALS and (home.parent / JOURNAL).is_file()
        return (home.parent.parent if is_trial else home) / "stages"

    def record(self, role: str, folder: StageFolder) -> StageFolder:
        """Remember which stage folder plays ``role``; append to ``stages.jsonl`` whether it was run or reused."""
        self.roles[role] = f"{folder.name}-{folder.key}"
        write_json(self.path / "stages.json", self.roles)
        line = {"role": role, "stage": folder.name, "key": folder.key, "ran": not folder.cached,
                "seconds": round(folder.seconds, 3)}  # fmt: skip
        with (self.path / "stages.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        return folder

    def stage(self, role: str) -> StageFolder:
        """Return the stage folder of a role such as ``foundation/vae`` or ``rounds/0001/hard/classifier``.

        Raises:
            DataError: the run has no such stage, or the cache was removed.
        """
        if role not in self.roles:
            raise DataError(f"{self.path}: has no {role}; known: {', '.join(sorted(self.roles))}")
        path = self.cache_root / self.roles[role]
        if not (path / MANIFEST).exists():
            raise DataError(
                f"{path}: the stage cache of {self.path} is gone; rerun `hardcase run` to compute it again"
            )
        name, _, key = self.roles[role].rpartition("-")
        return StageFolder(
            name=name, key=key, path=path, seconds=read_json(path / MANIFEST)["seconds"], cached=True
        )

    def champion(self) -> dict[str, Any]:
        """Return champion.json: {round, arm, metric, value, ...}; DataError where the run crowned none."""
        path = self.path / "champion.json"
        if not path.exists():
            raise DataError(
                f"{self.path}: the run has no champion yet; give --round and --arm, or let the run finish"
            )
        champion: dict[str, Any] = read_json(path)
        return champion

    def arm_folder(self, round_number: int, arm: str) -> Path:
        """Return where (round, arm) is published: the round's folder for its main arm, ``arms/<arm>`` otherwise."""
        folder = self.path / "rounds" / f"{round_number:04d}"
        return folder if arm == main_arm(round_number) else folder / "arms" / arm


def main_arm(round_number: int) -> str:
    """The arm whose files lie directly in the round's folder: real in round 0, hard later."""
    return "real" if round_number == 0 else "hard"


def arm_role(round_number: int, arm: str, stage: str) -> str:
    """The role of one arm's stage, for example ``rounds/0001/hard/classifier``."""
    return f"rounds/{round_number:04d}/{arm}/{stage}"


def flat_config(config: Config) -> dict[str, Any]:
    """Return {dotted key: value} of every key that decides what is computed."""
    flat = _flatten(config.model_dump(mode="json"))
    return {key: value for key, value in flat.items() if not _indifferent(key) and key != "name"}


def _refuse_other_config(path: Path, config: Config) -> None:
    try:
        before = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise DataError(
            f"{path / 'config.yaml'}: cannot be read ({error}); remove the folder or give name=OTHER"
        ) from None
    changed = config_changes(before or {}, config.model_dump(mode="json"))
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        raise ConfigError(
            f"{path}: was made by another config: {', '.join(changed[:3])}{more}; "
            "give name=OTHER, or the same values to resume it"
        )


def config_changes(
    before: Mapping[str, Any], now: Mapping[str, Any], besides: Sequence[str] = ()
) -> list[str]:
    """Return the keys that decide what is computed and differ between two config trees, each with both values.

    ``besides``: further keys that may differ.
    """
    old, new = _flatten(before), _flatten(now)
    return [
        f"{key} ({old.get(key)!r} there, {new.get(key)!r} now)"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not _indifferent(key) and key not in besides
    ]


def _indifferent(key: str) -> bool:
    return any(key == name or key.startswith(name + ".") for name in INDIFFERENT)


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
