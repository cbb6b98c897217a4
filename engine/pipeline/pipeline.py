"""Runs the stages of one config through the cache and records which folder plays which role in the run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Protocol

from engine.artifacts.run_layout import arm_role
from engine.config import Config
from engine.stages.base import P, Stage
from engine.store import StageFolder
from engine.store.run_folder import flat_config


class Runner(Protocol):
    """Runs a stage, or finds it in the cache (``StageRunner``); ``device`` is the torch device stages run on."""

    @property
    def device(self) -> str:
        """The torch device."""
        ...

    def __call__(
        self, stage: Stage[P], params: P, *, inputs: Mapping[str, StageFolder], seed: int = 0
    ) -> StageFolder:
        """Return the stage's finished folder."""
        ...


class Roles(Protocol):
    """Where a run keeps which finished folder plays which role (``RunFolder``)."""

    def record(self, role: str, folder: StageFolder) -> StageFolder:
        """Remember the folder under its role and return it."""
        ...


class NoRoles:
    """Keeps nothing, for commands that make no run folder."""

    def record(self, role: str, folder: StageFolder) -> StageFolder:
        """Return the folder, written nowhere."""
        return folder


class Pipeline:
    """The stages of one config.

    Attributes:
        config: the run's.
        runner: the stage cache and the backend behind it.
        roles: the run folder's record of roles.
        fingerprint: digest of the files the data is read from.
        stages: the foundation's finished folders so far, by stage name.
    """

    def __init__(self, config: Config, runner: Runner, roles: Roles, fingerprint: str) -> None:
        self.config = config
        self.runner = runner
        self.roles = roles
        self.fingerprint = fingerprint
        self.stages: dict[str, StageFolder] = {}
        self._unrecorded: list[tuple[str, StageFolder]] = []

    @property
    def config_digest(self) -> str:
        """Hash of every key that decides what is computed."""
        text = json.dumps(flat_config(self.config), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def round_seed(self, number: int, seed: int | None = None) -> int:
        """Return the seed of what belongs to one round, the same in every arm; ``seed``: None for ``loop.seed``."""
        return (self.config.loop.seed if seed is None else seed) * 1000 + number

    def parts(self, names: Iterable[str]) -> dict[str, StageFolder]:
        """Return foundation folders by name (KeyError: one was not computed)."""
        return {name: self.stages[name] for name in names}

    def foundation(self, stage: Stage[P], params: P, *, seed: int | None = None) -> StageFolder:
        """Run one stage of the foundation on those before it; ``seed``: None for the config's."""
        folder = self.runner(
            stage,
            params,
            inputs=self.parts(stage.inputs),
            seed=self.config.seed if seed is None else seed,
        )
        self.stages[stage.name] = folder
        return self.keep(f"foundation/{stage.name}", folder)

    def arm(
        self,
        number: int,
        arm: str,
        stage: Stage[P],
        params: P,
        inputs: Mapping[str, StageFolder],
        *,
        seed: int | None = None,
    ) -> StageFolder:
        """Run one stage of (round, arm) on images, split and ``inputs``; ``seed``: None for ``loop.seed``."""
        folder = self.runner(
            stage,
            params,
            inputs={**self.parts(("images", "split")), **inputs},
            seed=self.config.loop.seed if seed is None else seed,
        )
        return self.keep(arm_role(number, arm, stage.name), folder)

    def keep(self, role: str, folder: StageFolder) -> StageFolder:
        """Record the folder under its role as soon as it is finished; return it."""
        self._unrecorded.append((role, folder))
        self.record_finished()
        return folder

    def record_finished(self, *, all_of_them: bool = False) -> None:
        """Record the roles of folders that are finished by now; ``all_of_them``: wait for the others."""
        waiting, self._unrecorded = self._unrecorded, []
        for role, folder in waiting:
            if all_of_them or folder.ready:
                self.roles.record(role, folder)
            else:
                self._unrecorded.append((role, folder))
