"""One trial of a sweep: an ordinary run of the loop in its own run folder, reporting val after each round."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import build
from engine.artifacts.run_layout import TRIALS
from engine.config import Config
from engine.store import RunFolder
from engine.tuning.objective import Objective
from engine.tuning.results import SHARED
from engine.tuning.space import Settings, trial_config
from engine.types import Action, StopDecision
from policies import registry

if TYPE_CHECKING:
    from engine.loop import Loop

LOCK_PATIENCE = 600.0
"""Seconds a trial waits for the worker of a killed driver to let go of its folder."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a trial needs to know; travels to Ray's workers."""

    config: Config
    folder: Path
    objective: Objective
    device: str
    data_fingerprint: str

    def trial(self, number: int, settings: Settings) -> Config:
        """Return the config of one trial: arm hard alone, every stage in the trial's own process."""
        tree = self.config.model_dump(mode="json")
        here = {
            "kind": "local",
            "address": None,
            "train_workers": 0,
            "map_workers": 0,
            "gpus_per_worker": 0.0,
        }
        return self._with(number, settings, {**tree["backend"], **here, "device": self.device})

    def shared(self, settings: Settings) -> Config:
        """Return the config of what trials share, computed where the user's config says."""
        return self._with(SHARED, settings, {**self.config.backend.model_dump(), "device": self.device})

    def _with(self, number: int, settings: Settings, backend: Mapping[str, Any]) -> Config:
        return trial_config(
            self.config,
            settings,
            registry.check,
            name=f"{number:04d}",
            output=str(self.folder / TRIALS),
            loop={**self.config.loop.model_dump(mode="json"), "arms": ["hard"]},
            backend=backend,
            tracking={"kind": "none"},
            tune={},
        )


def play_trial(plan: Plan, number: int, settings: Settings, report: Callable[[int, float], None]) -> None:
    """Play trial ``number`` in this process; ``report`` takes (round, value of the objective) after each round.

    Raises:
        SystemExit: the scheduler stopped the trial; what it has is published.
        HardcaseError: the settings cannot be run.
    """
    config = plan.trial(number, settings)
    folder = RunFolder.create(config)
    lock = folder.lock(LOCK_PATIENCE)
    try:
        wiring = build.wire(config, folder=folder, track=False)
        loop = wiring.loop(data_fingerprint=plan.data_fingerprint, page=False)
        with loop.record.watched():
            loop.start()
        for round_number in range(config.loop.rounds + 1):
            with loop.record.watched():
                decision = loop.round(round_number)
            _report(loop, round_number, plan.objective, report)
            if decision.action != "continue":
                break
        loop.finish(decision)
    finally:
        lock.release()


def _report(
    loop: Loop, round_number: int, objective: Objective, report: Callable[[int, float], None]
) -> None:
    """Report a round; Ray ends a stopped trial inside ``report``."""
    entry = next(r for r in loop.history.reports if r.round == round_number)
    try:
        report(round_number, objective.of(entry))
    except SystemExit:
        loop.record.publish(
            StopDecision(action=Action.STOP, reason="the sweep's scheduler stopped this trial")
        )
        raise
