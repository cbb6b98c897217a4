"""Stages side by side: what does not wait for another runs at once, and a run ends as one after the other."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.config import parse_config
from engine.errors import StageError, StoppedError
from engine.execution.backend import StageCall
from engine.execution.progress import QuietListener
from engine.loop import Loop
from engine.stages import base
from engine.store import RunFolder, StageCache, StageRunner
from engine.store.side_by_side import SideBySide
from engine.tracking.base import NullTracker
from engine.training.plan import Progress
from policies import registry
from tests.paper_backend import VariedBackend

PATIENCE = 20.0


class Params(base.Params):
    """One number."""

    a: int = 0


def stage(name: str, *inputs: str) -> base.Stage[Params]:
    return base.Stage(name=name, params=Params, run=lambda _context, _params: None, files=(), inputs=inputs)


VAE, JUDGE, DENOISER = stage("vae"), stage("judge"), stage("denoiser", "vae")


class Meeting:
    """A backend whose stages end when told to."""

    def __init__(self) -> None:
        self.begun = {name: threading.Event() for name in ("vae", "judge", "denoiser")}
        self.let_go = {name: threading.Event() for name in self.begun}
        self.error: dict[str, BaseException] = {}
        self.stopping = threading.Event()

    def run(self, call: StageCall, progress: Progress) -> None:
        self.begun[call.stage].set()
        while not self.let_go[call.stage].wait(0.01):
            if self.stopping.is_set():
                raise StoppedError(15)
        if call.stage in self.error:
            raise self.error[call.stage]
        (call.out / "done.txt").write_text(call.stage)

    def stop(self) -> None:
        self.stopping.set()

    def close(self) -> None:
        pass


def side_by_side(tmp_path: Path, backend: Any) -> SideBySide:
    return SideBySide(StageRunner(StageCache(tmp_path), backend, 1, "cpu", "float32", QuietListener()))


def test_a_stage_begins_when_its_inputs_are_there_and_no_later(tmp_path: Path) -> None:
    backend = Meeting()
    runner = side_by_side(tmp_path, backend)
    vae = runner(VAE, Params())
    denoiser, judge = runner(DENOISER, Params(), inputs={"vae": vae}), runner(JUDGE, Params())
    assert all(backend.begun[name].wait(PATIENCE) for name in ("vae", "judge")), "at once"
    assert not backend.begun["denoiser"].is_set() and not (vae.ready or denoiser.ready or judge.ready)
    backend.let_go["vae"].set()
    assert backend.begun["denoiser"].wait(PATIENCE)
    assert (vae.path / "done.txt").read_text() == "vae" and not vae.cached
    backend.let_go["denoiser"].set()
    assert denoiser.path.name == f"denoiser-{denoiser.key}" and not judge.ready
    backend.let_go["judge"].set()
    assert judge.seconds > 0 and judge.failed == () and judge.ready
    runner.close()


def test_keys_are_those_of_a_run_one_after_the_other(tmp_path: Path) -> None:
    backend = Meeting()
    for event in backend.let_go.values():
        event.set()
    runner, alone = side_by_side(tmp_path / "a", backend), side_by_side(tmp_path / "b", backend).runner
    vae = runner(VAE, Params(a=3), seed=5)
    found = runner(DENOISER, Params(), inputs={"vae": vae})
    expected = alone(DENOISER, Params(), inputs={"vae": alone(VAE, Params(a=3), seed=5)})
    assert (found.key, found.path.name) == (expected.key, expected.path.name)
    runner.close()
    with pytest.raises(StageError, match="vae"):
        runner(DENOISER, Params())


def test_what_stops_one_stage_is_raised_by_whoever_waits_and_ends_the_others(tmp_path: Path) -> None:
    backend = Meeting()
    backend.error["judge"] = StageError("no judge")
    runner = side_by_side(tmp_path, backend)
    vae = runner(VAE, Params())
    denoiser = runner(DENOISER, Params(), inputs={"vae": vae})
    judge = runner(JUDGE, Params())
    assert backend.begun["vae"].wait(PATIENCE)
    backend.let_go["judge"].set()
    with pytest.raises(StageError, match="no judge"):
        _ = denoiser.path  # hours before anybody would have asked for the judge
    assert not judge.ready and not vae.ready
    backend.stop()
    runner.close()
    assert not backend.begun["denoiser"].is_set()
    assert not [path for path in tmp_path.iterdir() if path.name[0] != "." and "checkpoint" not in path.name]


class Slow(VariedBackend):
    """Every stage takes a little while, another one each time."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random, self.lock = random.Random(seed), threading.Lock()
        self.running = self.most = 0
        self.trouble: dict[str, Exception] = {}

    def run(self, call: StageCall, progress: Progress) -> None:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
            pause = self.random.uniform(0, 0.02)
        try:
            time.sleep(pause)
            if call.stage in self.trouble:
                raise self.trouble[call.stage]
            super().run(call, progress)
        finally:
            with self.lock:
                self.running -= 1

    def stop(self) -> None:
        pass


def test_as_many_stages_run_as_there_are_slots_and_what_the_cache_has_needs_none(tmp_path: Path) -> None:
    backend, slots, taken = Slow(0), threading.Semaphore(2), []

    @contextmanager
    def slot() -> Iterator[None]:
        with slots:
            taken.append(1)
            yield

    for _ in range(2):
        alone = StageRunner(StageCache(tmp_path), backend, 1, "cpu", "float32", QuietListener(), slot=slot)
        runner = SideBySide(alone)
        folders = [runner(VAE, Params(a=a)) for a in range(12)]
        assert all(folder.path.is_dir() for folder in folders)
        runner.close()
    assert backend.most == 2 and len(taken) == 12, "the second time all were ready"


class Told(NullTracker):
    def __init__(self) -> None:
        self.events: list[Any] = []

    def log_round(self, report: Any, folder: Path, run_folder: Path) -> None:
        assert (folder / "report.json").exists()
        self.events.append((report["round"], report["arm"]))

    def finish(self, status: str, run_folder: Path) -> None:
        self.events.append(status)


ARMS = ["plain", "real", "classical", "random", "dcgan", "queried", "hard_and_queried", "hard"]


def loop_of(tmp_path: Path, backend: Slow, compare: str, *, beside: bool) -> tuple[Loop, Any, Told]:
    config = parse_config(
        {
            "name": "a", "output": str(tmp_path), "data": {"split": {"hide_labels": 0.5}},
            "loop": {"rounds": 2, "arms": ARMS, "compare": compare, "seeds": [0, 1], "labels_from": "oracle"},
        }
    )  # fmt: skip
    folder = RunFolder.create(config)
    runner: Any = StageRunner(StageCache(folder.cache_root), backend, 1, "cpu", "float32", QuietListener())
    runner = SideBySide(runner) if beside else runner
    told = Told()
    loop = Loop(
        config, runner=runner, folder=folder, tracker=told, fingerprint="f",
        stopping=registry.make("stopping", config.policy.stopping),
    )  # fmt: skip
    return loop, runner, told


def without_seconds(report: dict[str, Any]) -> dict[str, Any]:
    rounds = [{**entry, "seconds": 0} for entry in report["rounds"]]
    return {**report, "rounds": rounds, "foundation_seconds": sorted(report["foundation_seconds"])}


@pytest.mark.parametrize("compare", ["every_round", "last_round"])
def test_a_run_side_by_side_reports_what_one_after_the_other_does(tmp_path: Path, compare: str) -> None:
    alone, _, told_alone = loop_of(tmp_path / "alone", Slow(0), compare, beside=False)
    expected = alone.play()
    for seed in range(2):
        backend = Slow(seed)
        loop, runner, told = loop_of(tmp_path / f"beside{seed}", backend, compare, beside=True)
        report = loop.play()
        runner.close()
        assert backend.most > 3, "nothing ran side by side"
        assert without_seconds(report) == without_seconds(expected)
        assert told.events == told_alone.events, "arms are logged in the same order"
        assert loop.folder.roles == alone.folder.roles
        assert json.loads((loop.folder.path / "report.json").read_text()) == report


@pytest.mark.parametrize("role", ["judge", "synthesize", "evaluate", "split"])
def test_a_failure_anywhere_closes_the_run_and_a_rerun_ends_it(tmp_path: Path, role: str) -> None:
    broken = Slow(0)
    broken.trouble[role] = RuntimeError("of no known kind")
    loop, runner, told = loop_of(tmp_path, broken, "last_round", beside=True)
    with pytest.raises(RuntimeError, match="of no known kind"):
        loop.play()
    runner.close()
    assert told.events[-1:] == ([] if role == "split" else ["FAILED"])
    loop, runner, told = loop_of(tmp_path, Slow(1), "last_round", beside=True)
    assert loop.play()["stopping"]["action"] == "stop" and told.events[-1] == "FINISHED"
    runner.close()
