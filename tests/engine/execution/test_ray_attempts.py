"""Workers killed for real: the stage ends in the bits of an undisturbed one, and its causes are written down."""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.artifacts.whole_files import write_text
from engine.config import BackendConfig
from engine.errors import NoMemoryError
from engine.execution import ray_stage
from engine.execution.backend import StageCall
from engine.execution.progress_file import ProgressFile
from engine.stages import find
from engine.training import loop
from engine.training.plan import TrainEnv
from engine.types import Cause
from tests.engine.execution.again import again, assert_as_undisturbed

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.faults, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def one_node() -> Iterator[None]:
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    ray.shutdown()


class Saboteur(ray_stage.StageWork):
    """Kills what trains or maps in the first attempt."""

    @property
    def first(self) -> bool:
        return ".attempt-1-" in self.call.out.parent.name

    def launch(self, fit: Callable[[TrainEnv], None]) -> None:
        if not self.first:
            handed_on = sorted(path.name for path in self.call.checkpoint.rglob("checkpoint-*"))
            write_text(self.call.out.parent.with_name(".handed_on"), " ".join(handed_on))
        super().launch(functools.partial(dies_after_a_checkpoint, fit) if self.first else fit)

    def map(self, worker: Any, chunks: Sequence[Any], what: str, before: int = 0) -> Iterator[Any]:
        last = min(2, len(chunks))
        return super().map(DyingWorker(worker, last) if self.first else worker, chunks, what, before)


def dies_after_a_checkpoint(fit: Callable[[TrainEnv], None], env: TrainEnv) -> None:
    save = loop.save_checkpoint

    def last_act(*arguments: Any, **named: Any) -> None:
        save(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    loop.save_checkpoint = last_act
    fit(env)


@dataclass(frozen=True)
class DyingWorker:
    """Dies on its chunk number ``last``."""

    inner: Any
    last: int

    def load(self) -> Callable[[Any], Any]:
        function, done = self.inner.load(), []

        def apply(chunk: Any) -> Any:
            done.append(chunk)
            if len(done) == self.last:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(chunk)

        return apply


def test_a_training_whose_worker_is_killed_goes_on_from_its_checkpoint(
    tmp_path: Path, tiny_run: Path, one_node: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_stage, "StageWork", Saboteur)
    folder = again(tiny_run, "foundation/vae", tmp_path)
    assert_as_undisturbed(tiny_run, "foundation/vae", folder, Cause.WORKER_LOST)
    assert (tmp_path / ".handed_on").read_text().startswith("checkpoint-00000003-")


class Apart(ray_stage.StageWork):
    """Notes in which process each fold is fitted; the first attempt's second fold dies where a file asks for that."""

    def launch_all(self, fits: Sequence[Callable[[TrainEnv], None]]) -> None:
        cache = self.call.out.parent.parent
        dies = (cache / ".dies").exists() and ".attempt-1-" in self.call.out.parent.name
        write_text(cache / f".asked-{len(list(cache.glob('.asked-*')))}", str(len(fits)))
        super().launch_all([
            functools.partial(noted, fit, cache, number, dies and number == 1)
            for number, fit in enumerate(fits)
        ])  # fmt: skip


def noted(fit: Callable[[TrainEnv], None], cache: Path, number: int, dies: bool, env: TrainEnv) -> None:
    write_text(cache / f".fold-{number}", str(os.getpid()))
    until = time.monotonic() + 240
    while not (cache / f".fold-{1 - number}").exists() and time.monotonic() < until:
        time.sleep(0.05)  # the other one runs beside it
    assert (cache / f".fold-{1 - number}").exists()
    (functools.partial(dies_after_a_checkpoint, fit) if dies else fit)(env)


@pytest.mark.parametrize(
    ("stage", "places", "halvings", "workers", "apart"),
    [
        ("judge", 4, 0, 0, True),
        ("crossfit", 9, 0, 0, True),
        ("judge", 3, 0, 0, False),
        ("judge", 4, 1, 0, False),
        ("judge", 4, 0, 1, False),
        ("vae", 4, 0, 0, False),
    ],
)
def test_when_trainings_of_a_stage_run_apart(
    tmp_path: Path, stage: str, places: int, halvings: int, workers: int, apart: bool
) -> None:
    """Where there is room; not on the workers of Ray Train, and one after the other after want of memory."""
    call = StageCall(
        stage=stage, out=tmp_path, inputs={}, params={}, seed=0, threads=1, device="cpu", precision="float32",
        checkpoint=tmp_path, halvings=halvings,
    )  # fmt: skip
    work = ray_stage.StageWork(
        config=BackendConfig(kind="ray", train_workers=workers),
        call=call,
        cpus_per_task=1,
        note=ProgressFile(tmp_path / "note"),
        places=places,
    )
    assert work.fits_apart is apart and work.delegates is (apart or workers > 0)


@pytest.mark.parametrize("dies", [False, pytest.param(True, marks=pytest.mark.heavy)])
def test_folds_are_fitted_side_by_side_where_there_is_room(
    tmp_path: Path, tiny_run: Path, one_node: None, monkeypatch: pytest.MonkeyPatch, dies: bool
) -> None:
    monkeypatch.setattr(ray_stage, "StageWork", Apart)
    (tmp_path / ".dies").touch() if dies else None
    folder = again(tiny_run, "foundation/judge", tmp_path, stages_at_once=4)
    assert_as_undisturbed(tiny_run, "foundation/judge", folder, *([Cause.WORKER_LOST] if dies else []))
    assert len({(tmp_path / f".fold-{number}").read_text() for number in range(2)}) == 2
    assert (tmp_path / ".asked-0").read_text() == "2"


@pytest.mark.parametrize(
    ("role", "backend"),
    [
        pytest.param("foundation/latents", {"map_workers": 2}, marks=pytest.mark.heavy),
        pytest.param("foundation/index", {}, marks=pytest.mark.heavy),
        pytest.param("rounds/0000/real/predict", {"map_workers": 2}, marks=pytest.mark.heavy),
        pytest.param("rounds/0001/hard/synthesize", {"map_workers": 1}, marks=pytest.mark.heavy),
        pytest.param("foundation/vae", {"train_workers": 1}, marks=pytest.mark.heavy),
        pytest.param("foundation/judge", {"map_workers": 1}, marks=pytest.mark.heavy),
    ],
)
def test_a_stage_whose_worker_is_killed_ends_in_the_same_bits(
    tmp_path: Path, tiny_run: Path, one_node: None, monkeypatch: pytest.MonkeyPatch, role: str, backend: Any
) -> None:
    monkeypatch.setattr(ray_stage, "StageWork", Saboteur)
    folder = again(tiny_run, role, tmp_path, **backend)
    assert_as_undisturbed(tiny_run, role, folder, Cause.WORKER_LOST)
    if find(folder.name).trains:
        assert (tmp_path / ".handed_on").read_text().startswith("checkpoint-00000003-")


@pytest.mark.parametrize(
    ("workers", "halvings", "chunks", "actors"),
    [(4, 0, 9, 4), (4, 1, 9, 2), (4, 1, 1, 1), (1, 1, 9, 1), (0, 0, 9, 1)],
)
def test_half_as_many_actors_map_after_want_of_memory(
    tmp_path: Path, workers: int, halvings: int, chunks: int, actors: int
) -> None:
    call = StageCall(
        stage="latents", out=tmp_path, inputs={}, params={}, seed=0, threads=1, device="cpu", precision="float32",
        checkpoint=tmp_path, halvings=halvings,
    )  # fmt: skip
    config = BackendConfig(kind="ray", map_workers=workers)
    work = ray_stage.StageWork(
        config=config, call=call, cpus_per_task=1, note=ProgressFile(tmp_path / "note")
    )
    assert work.actors(chunks) == actors


class Starved(ray_stage.StageWork):
    """Ends for its memory in its first attempts; a file in the cache says how many."""

    def map(self, worker: Any, chunks: Sequence[Any], what: str, before: int = 0) -> Iterator[Any]:
        place = self.call.out.parent.parent
        write_text(place / f".halvings-{len(list(place.glob('.halvings-*')))}", str(self.call.halvings))
        if len(list(place.glob(".halvings-*"))) <= int((place / ".times").read_text()):
            raise ray.exceptions.OutOfMemoryError("Task was killed due to the node running low on memory.")
        return super().map(worker, chunks, what, before)


def test_a_map_that_ends_for_its_memory_is_halved_once(
    tmp_path: Path, tiny_run: Path, one_node: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_stage, "StageWork", Starved)
    (tmp_path / ".times").write_text("1")
    folder = again(tiny_run, "foundation/latents", tmp_path)
    assert_as_undisturbed(tiny_run, "foundation/latents", folder, Cause.OUT_OF_MEMORY)
    assert [(tmp_path / f".halvings-{n}").read_text() for n in range(2)] == ["0", "1"]
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / ".times").write_text("9")
    with pytest.raises(NoMemoryError, match=r"^stage latents: Task was killed .* rerun to resume$"):
        again(tiny_run, "foundation/latents", tmp_path / "b")
    assert len(list((tmp_path / "b").glob(".halvings-*"))) == 2


REAL_TASK = ray_stage.stage_task


def cut_off(call: Any, work: Any) -> None:
    """Stand for a worker that Ray gives up and that lives on: its twin writes once the stage is published."""
    name, _, attempt = call.out.parent.name.partition(".attempt-")
    if not attempt.startswith("1-"):
        REAL_TASK(call, work)
    elif os.fork():
        until = time.monotonic() + 240
        while not (call.out / "latents.npy").exists() and time.monotonic() < until:
            time.sleep(0.02)  # the twin has it open then
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        os.setsid()
        os.closerange(3, 4096)  # or Ray still sees the worker
        try:
            twin(call, call.out.parent.with_name(name))
        finally:
            os._exit(0)


def twin(call: Any, published: Path) -> None:
    with (call.out / "latents.npy").open("w") as half:
        while not published.exists():
            time.sleep(0.05)
        half.write("other latents")
    said = []
    for path in (call.out / "latents.npy", call.checkpoint / "checkpoint-9"):
        try:
            path.write_text("other")
        except OSError as error:
            said.append(type(error).__name__)
    write_text(published.with_name(".twin"), " ".join(said))


def test_a_twin_that_wakes_after_its_stage_was_published_changes_nothing(
    tmp_path: Path, tiny_run: Path, one_node: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_stage, "stage_task", cut_off)
    folder = again(tiny_run, "foundation/latents", tmp_path)
    end = time.monotonic() + 240
    while not (tmp_path / ".twin").exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert (tmp_path / ".twin").read_text() == "FileNotFoundError FileNotFoundError"
    assert_as_undisturbed(tiny_run, "foundation/latents", folder, Cause.WORKER_LOST)


@pytest.mark.heavy
def test_a_task_that_the_memory_monitor_ends_is_not_retried_without_end(
    tmp_path: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ray.shutdown()
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.01")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "50")
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(ray_stage, "stage_task", sleeps)
    try:
        with pytest.raises(NoMemoryError, match=r"^stage vae: .*lower vae\.batch_size"):
            again(tiny_run, "foundation/vae", tmp_path / "training")
        with pytest.raises(NoMemoryError, match=r"^stage latents: "):
            again(tiny_run, "foundation/latents", tmp_path / "map")
        again_and_again = [
            record.getMessage() for record in caplog.records if "made again" in record.getMessage()
        ]
        assert len(again_and_again) == 1, "a training once, a map and its halves"
        assert again_and_again[0].startswith(
            "stage latents: attempt 1 failed and is made again: out of memory ("
        )
    finally:
        ray.shutdown()


def sleeps(_call: Any, _work: Any) -> None:
    time.sleep(60)
