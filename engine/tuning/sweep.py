"""`hardcase tune` from a config to its best policy: what trials share first, then the trials, then what they show.

Every trial is an ordinary run of the loop in ``<output>/<name>/trials/<number>``. Number 0 holds what all trials
share, the foundation and (where no tuned key touches it) round 0, computed before any trial starts.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from engine import build
from engine.artifacts.run_layout import TRIALS, RunLayout
from engine.checked_config import load
from engine.config import Config
from engine.config.places import is_url
from engine.data.fingerprint import fingerprint
from engine.errors import ConfigError, StageError, StoppedError
from engine.pipeline.run_report import tracked_dataset
from engine.store import Listener, RunFolder
from engine.tuning.decisions import RUNNING, Sweep, TrialRecord
from engine.tuning.journal import FRESH, Journal
from engine.tuning.objective import Objective
from engine.tuning.results import (
    trial_object,
    tune_object,
    write_best,
    write_results,
)
from engine.tuning.space import SearchSpace, prove, read_space, trial_config
from engine.tuning.trial import LOCK_PATIENCE, Plan, play_trial
from policies import registry

IDENTITY = ("searcher", "scheduler", "grace_rounds", "reduction", "metric", "seed")
"""Keys of ``tune`` that decide; trials, concurrent and resources may change between a sweep and its rerun."""

Heard = Callable[[TrialRecord, int | None], None]


def tune(
    config: Config, *, listener: Listener, heard: Heard = lambda _trial, _round: None, fresh: bool = False
) -> tuple[Path, dict[str, Any]]:
    """Run (or resume) the sweep of a config; returns its folder and tune.json's object.

    Raises:
        ConfigError: the search space or ``tune`` is wrong, or the name belongs to another sweep or run.
        StageError: a trial was lost (rerun to go on), or none finished.
    """
    space, objective = _check(config)
    folder = _open_folder(config, fresh)
    lock = folder.begin()
    try:
        plan = Plan(
            config=config,
            folder=folder.path.resolve(),
            objective=objective,
            device=_device(config),
            data_fingerprint=fingerprint(config.data, folder.cache_root),
        )
        return folder.path, _sweep(plan, space, listener, heard)
    finally:
        lock.release()


def _check(config: Config) -> tuple[SearchSpace, Objective]:
    """Prove that every choice can be run before anything is computed."""
    if is_url(config.output):
        raise ConfigError(
            "output: a sweep's trials share a folder, so it cannot lie in an object store; give output=FOLDER"
        )
    space = read_space(config)
    objective = Objective(metric=config.tune.metric)
    if config.tune.scheduler == "asha" and config.tune.grace_rounds > config.loop.rounds:
        raise ConfigError(
            f"tune.grace_rounds: {config.tune.grace_rounds} is above loop.rounds ({config.loop.rounds}); lower it, "
            "or use tune.scheduler: none"
        )
    prove(space, config, registry.check, _refuse_trial)
    return space, objective


def _refuse_trial(config: Config) -> None:
    build.check_models(config)
    if config.loop.mine_from == "test":
        raise ConfigError(
            "loop.mine_from: test is LEAKY, and a sweep must not see test; use mine or crossfit"
        )
    if registry.make("acceptance", config.policy.acceptance).wants_review:
        raise ConfigError(
            f"policy.acceptance: {config.policy.acceptance['name']} asks a person in every trial; use another for the sweep"
        )


def _device(config: Config) -> str:
    """The device of every trial: cuda where they hold GPUs (backend.device: auto)."""
    asked, share = config.backend.device, config.tune.gpus_per_trial
    if asked == "cuda" and share == 0:
        raise ConfigError(
            "tune.gpus_per_trial: 0, but backend.device is cuda; give a share such as 0.25, or backend.device=cpu"
        )
    if asked == "auto":
        return "cuda" if share > 0 else "cpu"
    return asked


def _open_folder(config: Config, fresh: bool) -> RunFolder:
    """Make or reopen ``<output>/<name>``; ``fresh`` forgets journal, trials and results (not the stage cache)."""
    path = Path(config.output) / config.name
    layout = RunLayout(path)
    if layout.roles.exists():
        raise ConfigError(f"{path}: holds a run; give name=OTHER")
    if fresh and layout.is_sweep:
        lock = RunFolder(path, config).lock()
        try:
            shutil.rmtree(path / TRIALS, ignore_errors=True)
            for file in layout.of_a_sweep:
                file.unlink(missing_ok=True)
        finally:
            lock.release()
    try:
        return RunFolder.create(config)
    except ConfigError as error:
        raise ConfigError(f"{error} (a sweep: {FRESH})" if layout.is_sweep else str(error)) from None


def _sweep(plan: Plan, space: SearchSpace, listener: Listener, heard: Heard) -> dict[str, Any]:
    """Share, try, and tell."""
    from engine.tuning.ray_tune import Cluster

    tracker = build.make_tracker(plan.config)

    def log(trial: TrialRecord) -> None:
        tracker.log_trial(trial_object(trial, plan.folder), plan.folder)

    def hear(trial: TrialRecord, round_number: int | None) -> None:
        heard(trial, round_number)
        if round_number is None:
            log(trial)

    sweep = _decisions(plan, space, hear)
    cluster = Cluster(plan.config.backend, plan.config.tune) if sweep.left else None
    try:
        dataset = _share(plan, space, listener)
        tracker.start(config=plan.config.model_dump(mode="json"), dataset=dataset, run_folder=plan.folder)
        for trial in sweep.trials.values():
            if trial.status != RUNNING:
                log(trial)
        try:
            if cluster is not None:
                cluster.run(sweep, partial(play_trial, plan), plan.folder)
        finally:
            found = tune_object(plan.config, plan.objective, sweep, plan.folder)
            write_results(found, plan.folder)
        _write_best(plan, sweep, found)
    except BaseException as error:
        stopped = isinstance(error, StoppedError | KeyboardInterrupt)
        tracker.finish("KILLED" if stopped else "FAILED", plan.folder)
        raise
    finally:
        if cluster is not None:
            cluster.close()
    tracker.finish("FINISHED", plan.folder)
    return found


def _decisions(plan: Plan, space: SearchSpace, heard: Heard) -> Sweep:
    """Return the sweep's decisions as far as its journal goes."""
    from engine.tuning.ray_tune import make_scheduler, make_searcher

    config = plan.config
    identity = {f"tune.{key}": getattr(config.tune, key) for key in IDENTITY}
    trials = config.tune.trials
    return Sweep(
        Journal.open(plan.folder, {"search_space": config.search_space, **identity}),
        searcher=make_searcher(space, config.tune),
        scheduler=make_scheduler(config.tune, config.loop.rounds),
        trials=min(trials, space.grid_size) if config.tune.searcher == "grid" else trials,
        rounds=config.loop.rounds,
        better=plan.objective.better,
        heard=heard,
    )


def _share(plan: Plan, space: SearchSpace, listener: Listener) -> dict[str, Any]:
    """Compute what trials share, so that they do not wait for each other; returns what a tracker is told of the data."""
    generators = getattr(space.domains.get("synthesis.generator"), "values", None)
    settings = [{"synthesis.generator": name} for name in generators] if generators else [{}]
    folder = RunFolder.create(plan.shared(settings[0]))
    lock = folder.lock(LOCK_PATIENCE)
    try:
        for position, chosen in enumerate(settings):
            wiring = build.wire(plan.shared(chosen), folder=folder, listener=listener, track=False)
            loop = wiring.loop(data_fingerprint=plan.data_fingerprint, page=False)
            try:
                with loop.record.watched():
                    loop.start()
                    if position == 0 and not space.touches_round_zero:
                        loop.round(0)
                        plan.objective.of(loop.history.reports[0])
                    loop.wait()
            finally:
                wiring.close()
    finally:
        lock.release()
    stages = loop.pipeline.stages
    return tracked_dataset(plan.config, stages["images"], stages["split"])


def _write_best(plan: Plan, sweep: Sweep, found: Mapping[str, Any]) -> None:
    """Write best.yaml and prove that it loads.

    Raises:
        StageError: no trial finished.
    """
    best = sweep.best()
    if best is None:
        reasons = [trial.reason for trial in sweep.trials.values() if trial.reason]
        raise StageError(
            f"no trial finished: {reasons[0] if reasons else 'all were stopped'}; change search_space, and {FRESH}"
        )
    path = RunLayout(plan.folder).best
    name = f"{plan.config.name}_best"
    write_best(trial_config(plan.config, best.settings, registry.check, name=name, tune={}), found, path)
    load(path)
