"""Who holds CPUs and GPUs: whatever computes, and nobody else; on one GPU nothing waits for itself. GPUs are fake."""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.config import BackendConfig
from engine.errors import StageError, StoppedError
from engine.execution import stop_signals
from engine.execution.backend import StageCall
from engine.execution.ray_address import connect
from engine.execution.ray_backend import RayBackend
from engine.training.plan import TrainEnv
from tests.fakes import no_progress
from tests.processes import Forked

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.ray

COMPUTES = {"CPU": 1.0, "GPU": 1.0}
NOTHING: dict[str, float] = {}


@pytest.fixture(scope="module")
def one_gpu() -> Iterator[None]:
    """A cluster of 2 CPUs and one GPU that is none."""
    ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    ray.shutdown()


def held() -> dict[str, float]:
    found = ray.get_runtime_context().get_assigned_resources()
    return {name: value for name, value in found.items() if name in COMPUTES and value > 0}


def note(folder: Path, name: str) -> None:
    (folder / f"{name}.json").write_text(json.dumps(held()))


def train(env: TrainEnv, *, folder: Path, fails: bool = False) -> None:
    """Stand for a training: says what it holds."""
    note(folder, "train")
    if fails:
        raise StageError("the loss became nan")


@dataclass(frozen=True)
class Worker:
    """Stand for a map's worker: says what it holds, and squares numbers."""

    folder: Path

    def load(self) -> Callable[[int], int]:
        note(self.folder, "map")
        return lambda chunk: chunk**2


def two_folds(call: StageCall, work: Any) -> None:
    """Stand for the judge: trains and maps in turns, twice."""
    note(call.out.parent, "stage")
    fails = bool(call.params["fails"])
    for fold in range(2):
        work.launch(functools.partial(train, folder=call.out.parent, fails=fails))
        squares = list(work.map(Worker(call.out.parent), [1, 2, 3, 4, 5], f"fold {fold}"))
        assert squares == [1, 4, 9, 16, 25]


def stage_call(folder: Path, fails: bool) -> StageCall:
    return StageCall(
        stage="judge",
        out=folder / "out",
        inputs={},
        params={"fails": fails},
        seed=0,
        threads=1,
        device="cpu",
        precision="float32",
        checkpoint=folder / "checkpoint",
    )


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, fails: bool = False, **backend: Any) -> dict[str, Any]:
    """Run ``two_folds`` in the place of the judge; returns what stage, training and map held."""
    monkeypatch.setattr("engine.execution.ray_stage.stage_task", two_folds)
    call = stage_call(folder, fails)
    RayBackend(BackendConfig(kind="ray", gpus_per_worker=1.0, **backend)).run(call, no_progress)
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in ("stage", "train", "map")}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("workers", "stage", "training", "mapping"),
    [
        ({}, COMPUTES, COMPUTES, COMPUTES),
        ({"map_workers": 4}, NOTHING, COMPUTES, {"GPU": 1.0}),
    ],
)
def test_who_holds_what_where_one_gpu_is_asked_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    one_gpu: None,
    workers: dict[str, int],
    stage: dict[str, float],
    training: dict[str, float],
    mapping: dict[str, float],
) -> None:
    found = run(tmp_path, monkeypatch, **workers)
    found["map"] = {name: value for name, value in found["map"].items() if name in mapping}
    assert found == {"stage": stage, "train": training, "map": mapping}


@pytest.mark.timeout(300)
def test_an_error_of_a_training_in_a_task_of_its_own_comes_back_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_gpu: None
) -> None:
    with pytest.raises(StageError, match="the loss became nan") as caught:
        run(tmp_path, monkeypatch, fails=True, map_workers=1)
    assert type(caught.value) is StageError


def sleeps(call: StageCall, _work: Any) -> None:
    """Stand for a long stage."""
    (call.out.parent / "begun").touch()
    time.sleep(120)


@pytest.mark.timeout(300)
def test_a_stop_while_ray_waits_is_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_gpu: None
) -> None:
    """Most of the wait is in Ray's compiled code, which makes a SystemError of what a signal raises there."""
    monkeypatch.setattr("engine.execution.ray_stage.stage_task", sleeps)

    def stop_once_begun() -> None:
        while not (tmp_path / "begun").exists():
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    backend = RayBackend(BackendConfig(kind="ray"))
    stop_signals.install()
    threading.Thread(target=stop_once_begun, daemon=True).start()
    try:
        with pytest.raises(StoppedError):
            backend.run(stage_call(tmp_path, fails=False), no_progress)
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def stops_itself() -> None:
    """Start Ray in another thread, as stages side by side do, then get a SIGTERM while this one waits."""
    stop_signals.install()
    starting = threading.Thread(target=connect, args=(None, 1))
    starting.start()
    starting.join()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
    except StoppedError as stopped:
        time.sleep(4)  # as long as a checkpoint takes; Ray's own handler aborts the process after three
        print("stopped in order")
        sys.exit(stopped.exit_code)


@pytest.mark.timeout(300)
def test_a_stop_is_one_whichever_thread_started_ray(tmp_path: Path) -> None:
    process = Forked(tmp_path / "said.txt", stops_itself)
    assert process.wait() == 143, process.said()
    assert "stopped in order" in process.said()


def test_handlers_of_a_program_around_ours_stay(one_gpu: None) -> None:
    def theirs(_number: int, _frame: object) -> None:
        """Of a program that uses hardcase as a library."""

    before = signal.signal(signal.SIGTERM, theirs)
    try:
        with stop_signals.kept():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGTERM) is theirs
    finally:
        signal.signal(signal.SIGTERM, before)
