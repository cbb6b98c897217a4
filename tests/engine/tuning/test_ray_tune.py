"""Ray Tune's searcher and scheduler under trial numbers, and what Ray is answered; no cluster is started."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher as RaySearcher

from engine.config import BackendConfig, TuneConfig
from engine.errors import ConfigError
from engine.tuning.decisions import Sweep
from engine.tuning.journal import Journal
from engine.tuning.ray_tune import (
    AshaScheduler,
    Cluster,
    OptunaSearcher,
    _JournalScheduler,
    _JournalSearcher,
    make_scheduler,
    make_searcher,
)
from engine.tuning.space import Choice, Range, SearchSpace

SPACE = SearchSpace(
    domains={
        "policy.mining": Choice(values=({"name": "margin"}, {"name": "loss", "top_k": 3})),
        "loop.budget": Range(kind="int", low=1, high=3),
        "classifier.round_lr": Range(kind="loguniform", low=1e-4, high=1e-1),
    }
)


def sweep_in(folder: Path, trials: int = 8, space: SearchSpace = SPACE, **tune: Any) -> Sweep:
    config = TuneConfig(**tune)
    return Sweep(
        Journal.open(folder, {}),
        searcher=make_searcher(space, config),
        scheduler=make_scheduler(config, 2),
        trials=trials,
        rounds=2,
        better=lambda value: value,
    )


def play(sweep: Sweep) -> None:
    while (trial := sweep.next()) is not None:
        for number in range(3):
            if sweep.decide(trial.number, number, trial.settings["loop.budget"] + number / 10):
                break
        sweep.end(trial.number)


@pytest.mark.parametrize("searcher", ["optuna", "random"])
def test_killed_after_any_trial_the_searcher_goes_on_as_if_it_had_not_been(
    tmp_path: Path, searcher: str
) -> None:
    (tmp_path / "whole").mkdir()
    play(sweep_in(tmp_path / "whole", searcher=searcher))
    whole = (tmp_path / "whole" / "journal.jsonl").read_text()
    for kept in (3, 9, 20):
        folder = tmp_path / f"kept-{kept}"
        folder.mkdir()
        (folder / "journal.jsonl").write_text("".join(whole.splitlines(keepends=True)[:kept]))
        play(sweep_in(folder, searcher=searcher))
        assert (folder / "journal.jsonl").read_text() == whole


def test_suggestions_lie_in_the_space_and_differ_with_the_seed(tmp_path: Path) -> None:
    found = [OptunaSearcher.create(SPACE, TuneConfig(seed=seed)).suggest(1) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    for settings in found:
        assert settings is not None
        assert settings["policy.mining"] in SPACE.domains["policy.mining"].samples()
        assert settings["loop.budget"] in (1, 2, 3)
        assert 1e-4 <= settings["classifier.round_lr"] <= 1e-1


def test_a_grid_is_walked_once(tmp_path: Path) -> None:
    grid = SearchSpace(domains={"a.b": Choice(values=(1, 2, 3)), "loop.budget": Choice(values=(1, 2))})
    sweep = sweep_in(tmp_path, trials=grid.grid_size, space=grid, searcher="grid", scheduler="none")
    play(sweep)
    tried = [json.dumps(trial.settings) for trial in sweep.trials.values()]
    assert len(set(tried)) == len(tried) == 6


def test_asha_stops_below_the_median_of_a_rung() -> None:
    scheduler = AshaScheduler.create(TuneConfig(grace_rounds=1, reduction=2.0), rounds=4)
    for number in (1, 2, 3, 4):
        scheduler.add(number)
    assert not scheduler.stops(1, 0, 0.1)  # round 0 is no rung
    assert not scheduler.stops(1, 1, 0.5)  # the first at a rung goes on
    assert scheduler.stops(2, 1, 0.4)  # below 0.5
    assert not scheduler.stops(3, 1, 0.6)  # above the median of 0.4, 0.5
    assert not scheduler.stops(4, 1, 0.5)  # the median of 0.4, 0.5, 0.6
    assert not scheduler.stops(1, 2, 0.1)


def test_the_last_round_is_never_a_stop(tmp_path: Path) -> None:
    sweep = sweep_in(tmp_path)
    for value in (0.9, 0.9):
        trial = sweep.next()
        assert trial
        assert not sweep.decide(trial.number, 1, value)
        assert not sweep.decide(trial.number, 2, -value * trial.number)
        sweep.end(trial.number)
    assert [trial.status for trial in sweep.trials.values()] == ["finished", "finished"]


def test_ray_is_answered_from_the_sweep(tmp_path: Path) -> None:
    sweep = sweep_in(tmp_path, trials=3)
    searcher, scheduler = _JournalSearcher(sweep), _JournalScheduler(sweep)

    def report(config: dict[str, Any], **result: Any) -> str:
        return scheduler.on_trial_result(None, SimpleNamespace(config=config), result)

    first = searcher.suggest("ray-a")
    assert json.loads(first["settings"]) == sweep.trials[1].settings
    assert report(first, round=1, value=0.5, failed="") == TrialScheduler.CONTINUE
    assert report(first, round=2, value=0.5, failed="") == TrialScheduler.CONTINUE
    searcher.on_trial_complete("ray-a", result={})
    second = searcher.suggest("ray-b")
    assert report(second, round=1, value=0.1, failed="") == TrialScheduler.STOP
    searcher.on_trial_complete("ray-b", result={})
    third = searcher.suggest("ray-c")
    assert (
        report(third, round=-1, value=float("nan"), failed="policy.mining: found nothing")
        == TrialScheduler.STOP
    )
    searcher.on_trial_complete("ray-c", result={})
    assert searcher.suggest("ray-d") == RaySearcher.FINISHED
    assert [t.status for t in sweep.trials.values()] == ["finished", "stopped", "failed"]
    assert sweep.trials[3].reason == "policy.mining: found nothing"


def test_a_lost_trial_has_no_end_and_is_tried_again(tmp_path: Path) -> None:
    sweep = sweep_in(tmp_path)
    searcher = _JournalSearcher(sweep)
    searcher.suggest("ray-a")
    searcher.on_trial_complete("ray-a", error=True)
    assert searcher.lost == [1]
    again = sweep_in(tmp_path).next()
    assert again is not None and again.number == 1


def test_a_client_address_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"backend\.address=auto"):
        Cluster(BackendConfig(kind="ray", address="ray://head:10001"), TuneConfig())
