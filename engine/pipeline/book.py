"""What all recipes share: the config, the stage cache behind a runner, the run folder, and the stages so far."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from engine.config import Config
from engine.store import RunFolder, StageFolder, StageRunner
from engine.store.run_folder import arm_role, flat_config

ROUND_ONLY = frozenset({"steps", "lr", "round_steps", "round_lr", "round_init"})
"""Classifier keys that the loop turns into a stage's own ``steps`` and ``lr``."""


class RecipeBook:
    """Runs stages of one config through the cache and records their roles in the run folder."""

    def __init__(self, config: Config, runner: StageRunner, folder: RunFolder, fingerprint: str) -> None:
        self.config = config
        self.runner = runner
        self.folder = folder
        self.fingerprint = fingerprint
        self.tree: dict[str, Any] = config.model_dump(mode="json")
        self.stages: dict[str, StageFolder] = {}

    @property
    def config_digest(self) -> str:
        """Hash of every key that decides what is computed."""
        text = json.dumps(flat_config(self.config), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _classifier_section(self, but: frozenset[str], *, adds: bool) -> dict[str, Any]:
        """The section as a stage reads it, without the keys ``but``.

        ``mix`` is left out where it is not asked for, and where the fit has no images but the classifier's own (``adds``
        is false), so that another mix trains and mines nothing again that does not know it.
        """
        section: dict[str, Any] = self.tree["classifier"]
        unused = but if adds and section["mix"] is not None else but | {"mix"}
        return {k: v for k, v in section.items() if k not in unused}

    def _feature_params(self, **more: Any) -> dict[str, Any]:
        section = self.tree["evaluation"]
        return {
            "evaluation": {"features": section["features"], "inception": section["inception"], **more},
            "embedder": self.tree["embedder"],
        }

    @property
    def _own(self) -> dict[str, list[int]]:
        """The param by which a stage knows the classifier's own images; empty where it trains on all of train."""
        sets = self.config.data.split.train_sets
        return {} if sets is None else {"train_sets": sets.use}

    def _round_seed(self, number: int) -> int:
        return self.config.loop.seed * 1000 + number

    def _foundation(
        self, name: str, params: Mapping[str, Any], inputs: tuple[str, ...], *, seeded: bool = True
    ) -> None:
        folder = self.runner(
            name,
            params=params,
            inputs={role: self.stages[role] for role in inputs},
            seed=self.config.seed if seeded else 0,
        )
        self.stages[name] = self.folder.record(f"foundation/{name}", folder)

    def _arm(
        self,
        number: int,
        arm: str,
        stage: str,
        params: Mapping[str, Any],
        inputs: Mapping[str, StageFolder],
        *,
        seed: int | None = None,
    ) -> StageFolder:
        base = {k: self.stages[k] for k in ("images", "split")}
        folder = self.runner(
            stage,
            params=params,
            inputs={**base, **inputs},
            seed=self.config.loop.seed if seed is None else seed,
        )
        return self.folder.record(arm_role(number, arm, stage), folder)
