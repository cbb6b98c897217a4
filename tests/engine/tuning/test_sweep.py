"""The sweep from config to best.yaml, with stages that compute nothing and trials that run in this process."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import filelock
import pytest
import yaml

from engine import build
from engine.config import Config, parse_config
from engine.errors import ConfigError, HardcaseError, StageError
from engine.execution.progress import QuietListener
from engine.store import RunFolder
from engine.tracking.base import NullTracker
from engine.tuning import ray_tune, sweep
from engine.tuning.decisions import Sweep
from engine.tuning.trial import LOCK_PATIENCE, play_trial
from tests.paper_backend import PaperBackend

SPACE = {"policy.mining.name": ["margin", "entropy"], "loop.budget": [10, 20]}
TUNE = {"trials": 3, "metric": "accuracy", "searcher": "random", "reduction": 2.0}
CLASSIFIERS: list[float] = []
"""The val figure of each classifier trained so far, in the order of training; a test fills it."""


class SharedBackend(PaperBackend):
    """One count of classifiers over all trials of a test."""

    calls_of_all: ClassVar[list[Any]] = []

    def __init__(self) -> None:
        super().__init__(CLASSIFIERS)
        self.calls = self.calls_of_all


class InProcess:
    """What Ray does with a sweep, here: one trial after the other, a stopped one ends inside its report."""

    left = 10**6

    def __init__(self, backend: Any, config: Any) -> None:
        pass

    def run(self, decisions: Sweep, play: Callable[..., None], folder: Path) -> None:
        while (trial := decisions.next()) is not None:
            self.play(decisions, trial.number, trial.settings, play)

    def play(
        self, decisions: Sweep, number: int, settings: Mapping[str, Any], play: Callable[..., None]
    ) -> None:
        def report(round_number: int, value: float) -> None:
            if InProcess.left == 0:
                raise KeyboardInterrupt
            InProcess.left -= 1
            if decisions.decide(number, round_number, value):
                raise SystemExit

        try:
            play(number, settings, report)
        except SystemExit:
            decisions.end(number)
        except HardcaseError as error:
            decisions.end(number, failed=str(error))
        else:
            decisions.end(number)

    def close(self) -> None:
        pass


class Recorder(NullTracker):
    events: ClassVar[list[Any]] = []

    def start(self, *, config: Any, dataset: Any, run_folder: Path) -> None:
        self.events.append(("start", dataset["protocol"]))

    def log_trial(self, trial: Any, run_folder: Path) -> None:
        self.events.append((trial["trial"], trial["status"]))

    def finish(self, status: str, run_folder: Path) -> None:
        self.events.append(status)


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    CLASSIFIERS[:] = [0.5, 0.6, 0.7, 0.55, 0.65, 0.8, 0.9, 0.9]
    SharedBackend.calls_of_all, Recorder.events, InProcess.left = [], [], 10**6
    monkeypatch.setattr(build, "make_backend", lambda *_: SharedBackend())
    monkeypatch.setattr(build, "make_tracker", lambda _config: Recorder())
    monkeypatch.setattr(ray_tune, "Cluster", InProcess)


def config_in(tmp_path: Path, **sections: Any) -> Config:
    tree = {"name": "s", "output": str(tmp_path / "runs"), "search_space": SPACE, "tune": TUNE,
            "loop": {"rounds": 2, "arms": ["real", "hard"]}, **sections}  # fmt: skip
    return parse_config(tree)


def run(config: Config, **options: Any) -> tuple[Path, dict[str, Any]]:
    return sweep.tune(config, listener=QuietListener(), **options)


def test_trials_share_round_zero_and_val_picks_the_best(tmp_path: Path) -> None:
    folder, found = run(config_in(tmp_path))
    # classifier 0 is round 0's; trial 1 has 0.6, 0.7; trial 2 stops at 0.55; trial 3 has 0.65, 0.8
    assert [(t["status"], t["values"]) for t in found["trials"]] == [
        ("finished", {"0": 0.5, "1": 0.6, "2": 0.7}),
        ("stopped", {"0": 0.5, "1": 0.55}),
        ("finished", {"0": 0.5, "1": 0.65, "2": 0.8}),
    ]
    assert (found["best"]["trial"], found["best"]["value"]) == (3, 0.8)
    names = [call.stage for call in SharedBackend.calls_of_all]
    assert names.count("vae") == names.count("judge") == 1
    assert names.count("classifier") == 1 + 2 + 1 + 2
    assert Recorder.events == [
        ("start", "safe"),
        (1, "finished"),
        (2, "stopped"),
        (3, "finished"),
        "FINISHED",
    ]
    best = build.load(folder / "best.yaml")
    assert best.loop.budget == found["best"]["settings"]["loop.budget"]
    assert list(best.loop.arms) == ["real", "hard"]
    stopped = json.loads((folder / "trials" / "0002" / "report.json").read_text())
    assert stopped["stopping"] == {"action": "stop", "reason": "the sweep's scheduler stopped this trial"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "reports", [(1, 4, 7), pytest.param((2, 3, 5, 6), marks=pytest.mark.heavy)], ids=["sample", "others"]
)
def test_interrupted_anywhere_it_ends_the_same_and_repeats_no_stage(
    tmp_path: Path, reports: tuple[int, ...]
) -> None:
    _, whole = run(config_in(tmp_path / "whole"))
    computed = len(SharedBackend.calls_of_all)
    for left in reports:
        SharedBackend.calls_of_all = []
        InProcess.left = left
        with pytest.raises(KeyboardInterrupt):
            run(config_in(tmp_path / str(left)))
        assert Recorder.events[-1] == "KILLED"
        assert (tmp_path / str(left) / "runs" / "s" / "tune.json").exists()
        InProcess.left = 10**6
        _, found = run(config_in(tmp_path / str(left)))
        assert [(t["status"], t["settings"], t["values"]) for t in found["trials"]] == [
            (t["status"], t["settings"], t["values"]) for t in whole["trials"]
        ]
        assert len(SharedBackend.calls_of_all) == computed
        assert found["best"] == whole["best"]


class LockedError(Exception):
    """Whoever wires a trial has its lock."""


@pytest.mark.parametrize(
    "begin",
    [
        lambda plan: play_trial(plan, 1, {}, lambda *_: None),
        lambda plan: sweep._share(plan, SimpleNamespace(domains={}), QuietListener()),
    ],
    ids=["a trial", "what trials share"],
)
def test_the_worker_of_a_killed_driver_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begin: Callable[[Any], None]
) -> None:
    lock, waited = RunFolder.lock, []

    def held_by_another(self: RunFolder, patience: float = 0.0) -> filelock.FileLock:
        waited.append(patience)
        another = filelock.FileLock(self.layout.lock, thread_local=False)
        another.acquire(timeout=0)
        threading.Timer(0.1, another.release).start()
        return lock(self, patience)

    def wire(*_: Any, **__: Any) -> None:
        raise LockedError

    config = config_in(tmp_path, search_space={}, tune={})
    RunFolder.create(config)
    monkeypatch.setattr(RunFolder, "lock", held_by_another)
    monkeypatch.setattr(build, "wire", wire)
    with pytest.raises(LockedError):
        begin(SimpleNamespace(trial=lambda *_: config, shared=lambda *_: config))
    assert waited == [LOCK_PATIENCE] and LOCK_PATIENCE >= 60


def test_a_finished_sweep_computes_nothing_and_says_the_same(tmp_path: Path) -> None:
    _, first = run(config_in(tmp_path))
    SharedBackend.calls_of_all = []
    heard: list[Any] = []
    _, again = run(config_in(tmp_path), heard=lambda trial, number: heard.append(trial))
    assert SharedBackend.calls_of_all == heard == []
    assert again == first


def test_a_tuned_classifier_key_has_a_round_zero_of_its_own(tmp_path: Path) -> None:
    CLASSIFIERS[:] = [0.5] * 9
    space = {"classifier.lr": [0.001, 0.002]}
    run(config_in(tmp_path, search_space=space, tune={**TUNE, "searcher": "grid"}))
    fits = [
        call
        for call in SharedBackend.calls_of_all
        if call.stage == "classifier" and "init" not in call.inputs
    ]
    assert sorted(call.params["lr"] for call in fits) == [0.001, 0.002]


@pytest.mark.slow
def test_a_smaller_sweep_is_refused_another_space_and_fresh_starts_anew(tmp_path: Path) -> None:
    folder, _ = run(config_in(tmp_path))
    with pytest.raises(ConfigError, match=r"search_space .*--fresh"):
        run(config_in(tmp_path, search_space={"loop.budget": [10]}))
    with pytest.raises(ConfigError, match=r"loop\.rounds \(2 there, 1 now\).*--fresh"):
        run(config_in(tmp_path, loop={"rounds": 1}))
    SharedBackend.calls_of_all = []
    CLASSIFIERS[:] = [0.5] * 20
    run(config_in(tmp_path, search_space={"loop.budget": [10]}), fresh=True)
    assert "vae" not in [call.stage for call in SharedBackend.calls_of_all]
    assert json.loads((folder / "tune.json").read_text())["search_space"] == {"loop.budget": [10]}


def test_more_trials_may_be_asked_for_later(tmp_path: Path) -> None:
    run(config_in(tmp_path))
    CLASSIFIERS.extend([0.9] * 9)
    _, found = run(config_in(tmp_path, tune={**TUNE, "trials": 4}))
    assert [t["trial"] for t in found["trials"]] == [1, 2, 3, 4]


def test_an_undefined_objective_is_said_before_any_trial(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tune\.metric: nll is undefined on val in round 0"):
        run(config_in(tmp_path, tune={**TUNE, "metric": "nll"}))


def test_where_all_trials_fail_the_first_reason_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any, call: Any) -> None:
        raise StageError("mine: nothing is hard here")

    monkeypatch.setattr(SharedBackend, "_mine", refuse)
    with pytest.raises(StageError, match="no trial finished: mine: nothing is hard here"):
        run(config_in(tmp_path))
    assert Recorder.events[-1] == "FAILED"


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"loop": {"mine_from": "test"}}, "LEAKY"),
        ({"policy": {"acceptance": {"name": "reviewed"}}}, "asks a person in every trial"),
        ({"tune": {**TUNE, "grace_rounds": 9}}, "tune.grace_rounds: 9 is above loop.rounds"),
        ({"tune": {**TUNE, "metric": "acuracy"}}, "val has no figure 'acuracy'"),
        ({"backend": {"device": "cuda"}}, "tune.gpus_per_trial: 0, but backend.device is cuda"),
        ({"search_space": {"classifier.model": ["resnet18", "no_such_net"]}}, "classifier.model"),
    ],
)
def test_what_no_trial_could_run_is_refused_before_anything_is_made(
    tmp_path: Path, sections: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as error:
        run(config_in(tmp_path, **sections))
    assert said in str(error.value)
    assert SharedBackend.calls_of_all == []


def test_a_run_and_a_sweep_do_not_share_a_folder(tmp_path: Path) -> None:
    run(config_in(tmp_path))
    with pytest.raises(ConfigError, match="holds a sweep"):
        build.run(config_in(tmp_path))
    (tmp_path / "runs" / "r").mkdir()
    (tmp_path / "runs" / "r" / "stages.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds a run"):
        run(config_in(tmp_path, name="r"))


def test_the_best_config_is_plain_yaml(tmp_path: Path) -> None:
    folder, _ = run(config_in(tmp_path))
    tree = yaml.safe_load((folder / "best.yaml").read_text())
    assert (tree["name"], tree["search_space"]) == ("s_best", {})
