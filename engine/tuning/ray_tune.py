"""Ray Tune: trials as function trainables on fractions of CPUs or GPUs, Optuna's searcher, asynchronous halving.

The decisions are a ``Sweep``'s, which keeps them in its own journal. Ray's restore is not used: it repeats finished
trials and forgets the rungs. What Ray writes while it runs lies in ``<sweep>/.ray`` and is removed.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher as RaySearcher
from ray.tune.search.optuna import OptunaSearch

from engine.artifacts.json_text import parse_json
from engine.config import BackendConfig, TuneConfig
from engine.errors import ConfigError, HardcaseError, StageError
from engine.execution import stop_signals
from engine.execution.ray_address import connect
from engine.tuning.decisions import Scheduler, Searcher, Sweep
from engine.tuning.space import Choice, Domain, SearchSpace

VALUE, ROUND, FAILED = "value", "round", "failed"
STARTUP_TRIALS = 5
"""Random trials before the tree of Parzen estimators is trusted."""

Play = Callable[[int, Mapping[str, Any], Callable[[int, float], None]], None]
"""Plays trial ``number`` with its settings and calls back with (round, value) after each round."""


@dataclass
class OptunaSearcher:
    """OptunaSearch under trial numbers: what it learns is the same whatever ids Ray gives."""

    space: SearchSpace
    search: Any

    @classmethod
    def create(cls, space: SearchSpace, config: TuneConfig) -> OptunaSearcher:
        """Return the searcher of ``tune.searcher``."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        distributions = {key: _distribution(domain) for key, domain in space.domains.items()}
        samplers: dict[str, Callable[[], Any]] = {
            "optuna": lambda: optuna.samplers.TPESampler(
                seed=config.seed, n_startup_trials=STARTUP_TRIALS, constant_liar=True
            ),
            "random": lambda: optuna.samplers.RandomSampler(seed=config.seed),
            "grid": lambda: optuna.samplers.GridSampler(
                {key: list(d.choices) for key, d in distributions.items()}, seed=config.seed
            ),
        }
        search = OptunaSearch(distributions, metric=VALUE, mode="max", sampler=samplers[config.searcher]())
        return cls(space, search)

    def suggest(self, number: int) -> Mapping[str, Any] | None:
        """Return the settings of a new trial."""
        return self.space.decode(self.search.suggest(str(number)))

    def report(self, number: int, round_number: int, value: float) -> None:
        """Hear a value after a round."""
        self.search.on_trial_result(str(number), {VALUE: value, "training_iteration": round_number})

    def end(self, number: int, value: float | None) -> None:
        """Hear the last value."""
        result = None if value is None else {VALUE: value}
        self.search.on_trial_complete(str(number), result=result, error=value is None)


@dataclass
class AshaScheduler:
    """ASHAScheduler under trial numbers, its time the round."""

    scheduler: Any

    @classmethod
    def create(cls, config: TuneConfig, rounds: int) -> AshaScheduler:
        """Return asynchronous successive halving with rungs from ``tune.grace_rounds`` on."""
        return cls(
            ASHAScheduler(
                time_attr=ROUND,
                metric=VALUE,
                mode="max",
                max_t=rounds,
                grace_period=config.grace_rounds,
                reduction_factor=config.reduction,
            )
        )

    def add(self, number: int) -> None:
        """Hear of a new trial."""
        self.scheduler.on_trial_add(None, SimpleNamespace(trial_id=str(number)))

    def stops(self, number: int, round_number: int, value: float) -> bool:
        """Return whether the trial is behind at a rung."""
        result = {ROUND: round_number, VALUE: value}
        decision = self.scheduler.on_trial_result(None, SimpleNamespace(trial_id=str(number)), result)
        return bool(decision == TrialScheduler.STOP)


class NoScheduler:
    """Lets every trial go on to its end."""

    def add(self, number: int) -> None:
        """Do nothing."""

    def stops(self, number: int, round_number: int, value: float) -> bool:
        """Return False."""
        return False


def make_searcher(space: SearchSpace, config: TuneConfig) -> Searcher:
    """Return the searcher of ``tune.searcher``."""
    return OptunaSearcher.create(space, config)


def make_scheduler(config: TuneConfig, rounds: int) -> Scheduler:
    """Return the scheduler of ``tune.scheduler``."""
    return AshaScheduler.create(config, rounds) if config.scheduler == "asha" else NoScheduler()


class Cluster:
    """Ray, started here or joined, and what a trial holds of it."""

    def __init__(self, backend: BackendConfig, config: TuneConfig) -> None:
        """Connect; raises ConfigError where Ray does not answer or no node can hold a trial."""
        if backend.address is not None and backend.address.startswith("ray://"):
            raise ConfigError(
                f"backend.address: {backend.address} is a client address, and a sweep needs its driver in the cluster; "
                "run `hardcase tune` on a node with backend.address=auto"
            )
        os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
        os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
        os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # with it Ray prints a box even where verbose is 0
        os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
        self.owns_ray = not ray.is_initialized()
        if self.owns_ray:
            connect(backend.address, _own_cpus())
        total = ray.cluster_resources()
        held = {"CPU": config.cpus_per_trial or min(float(backend.threads), total.get("CPU", 1.0)),
                "GPU": config.gpus_per_trial}  # fmt: skip
        self.held = {name: count for name, count in held.items() if count > 0}
        for name, count in self.held.items():
            if count > total.get(name, 0):
                key = "tune.cpus_per_trial" if name == "CPU" else "tune.gpus_per_trial"
                raise ConfigError(
                    f"{key}: {count:g} asked for, the cluster has {total.get(name, 0):g} {name}s; lower it"
                )
        fit = min(math.floor(total[name] / count) for name, count in self.held.items())
        self.concurrent = config.concurrent or max(1, fit)

    def run(self, sweep: Sweep, play: Play, folder: Path) -> None:
        """Run every trial of ``sweep`` that is not at its end; ``folder`` is the sweep's.

        Raises:
            StageError: a trial was lost (a worker died, a bug); the others ran, a rerun tries it again.
        """
        if sweep.left == 0:
            return
        logging.getLogger("ray.tune").setLevel(logging.ERROR)
        storage = folder.resolve() / ".ray"
        shutil.rmtree(storage, ignore_errors=True)
        searcher = _JournalSearcher(sweep)
        tuner = tune.Tuner(
            tune.with_resources(_trainable(play), self.held),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=_JournalScheduler(sweep),
                num_samples=sweep.left,
                max_concurrent_trials=self.concurrent,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: f"{trial.config['trial']:04d}-{trial.trial_id}",
            ),
            run_config=tune.RunConfig(name="sweep", storage_path=str(storage), verbose=0),
        )
        try:
            with stop_signals.unwrapped():
                results = tuner.fit()
        finally:
            shutil.rmtree(storage, ignore_errors=True)
        if searcher.lost:
            cause = results.errors[0] if results.errors else None
            last = str(cause).strip().splitlines()[-1] if cause is not None else "its worker is gone"
            raise StageError(
                f"trial {searcher.lost[0]}: did not finish ({last}); rerun to try it again"
            ) from cause

    def close(self) -> None:
        """Stop Ray, where it was started here."""
        if self.owns_ray and ray.is_initialized():
            ray.shutdown()


class _JournalSearcher(RaySearcher):  # type: ignore[misc]
    """What Ray asks for settings: the sweep's next trial."""

    def __init__(self, sweep: Sweep) -> None:
        super().__init__(metric=VALUE, mode="max")
        self.sweep = sweep
        self.numbers: dict[str, int] = {}
        self.lost: list[int] = []

    def set_search_properties(self, metric: Any, mode: Any, config: Any, **spec: Any) -> bool:
        """Accept: the search space is the sweep's."""
        return True

    def suggest(self, trial_id: str) -> Any:
        """Return a trial's config as plain JSON, FINISHED where there are no more."""
        trial = self.sweep.next()
        if trial is None:
            return RaySearcher.FINISHED
        self.numbers[trial_id] = trial.number
        return {"trial": trial.number, "settings": json.dumps(trial.settings)}

    def on_trial_result(self, trial_id: str, result: Mapping[str, Any]) -> None:
        """Do nothing: the scheduler told the sweep."""

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        """Tell the sweep of an end; a trial that Ray lost has none."""
        number = self.numbers[trial_id]
        if error:
            self.lost.append(number)
            return
        self.sweep.end(number)

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: the journal is what a rerun reads."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _JournalScheduler(FIFOScheduler):  # type: ignore[misc]
    """What Ray asks whether a trial goes on: the sweep's decision."""

    def __init__(self, sweep: Sweep) -> None:
        super().__init__()
        self.sweep = sweep

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
        """Pass a report to the sweep."""
        number = int(trial.config["trial"])
        if result.get(FAILED):
            self.sweep.end(number, failed=str(result[FAILED]))
            return str(TrialScheduler.STOP)
        stop = self.sweep.decide(number, int(result[ROUND]), float(result[VALUE]))
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _own_cpus() -> int | None:
    """Cores this process may use where it is bound to some of them (taskset), so that no trial waits for the others'."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return allowed if allowed is not None and allowed < (os.cpu_count() or 1) else None


def _trainable(play: Play) -> Callable[[dict[str, Any]], None]:
    """Return the function Ray runs in a worker; a setting's own fault is reported, not raised."""

    def trial(config: dict[str, Any]) -> None:
        def report(round_number: int, value: float) -> None:
            tune.report({ROUND: round_number, VALUE: value, FAILED: ""})

        try:
            play(config["trial"], parse_json(config["settings"]), report)
        except HardcaseError as error:
            tune.report({ROUND: -1, VALUE: math.nan, FAILED: str(error)})

    return trial


def _distribution(domain: Domain) -> Any:
    """Return Optuna's distribution of a domain."""
    if isinstance(domain, Choice):
        return optuna.distributions.CategoricalDistribution(domain.labels)
    if domain.kind == "int":
        return optuna.distributions.IntDistribution(int(domain.low), int(domain.high))
    return optuna.distributions.FloatDistribution(
        float(domain.low), float(domain.high), log=domain.kind == "loguniform"
    )
