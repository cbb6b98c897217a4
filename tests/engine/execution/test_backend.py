"""The local backend; and every stage says whether it trains and whether it maps, by which Ray gives it workers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from engine import build
from engine.config import BackendConfig
from engine.execution import backend as backends
from engine.execution.backend import LocalBackend, LocalLaunch, LocalMap, StageCall
from engine.parts.context import StageContext
from engine.stages import find, run_stage
from engine.stages.base import Params, Stage
from engine.training.plan import Progress, TrainEnv
from tests.fakes import no_progress
from tests.integration.tiny import tiny_config


class Watched:
    """Runs stages here and notes which of them train and which map."""

    def __init__(self) -> None:
        self.used: defaultdict[str, set[str]] = defaultdict(set)

    def run(self, call: StageCall, progress: Progress) -> None:
        used = self.used[call.stage]

        def mapped(worker: Any, chunks: Sequence[Any], what: str, before: int = 0) -> Iterator[Any]:
            used.add("maps")
            return LocalMap(progress)(worker, chunks, what, before)

        def launched(fit: Callable[[TrainEnv], None]) -> None:
            used.add("trains")
            LocalLaunch(call.threads, call.device, call.precision, progress)(fit)

        context = call.context(progress=progress, mapper=mapped, launch=launched)
        run_stage(call.stage, context, call.params)

    def close(self) -> None:
        """Hold nothing."""


@pytest.mark.slow
def test_stages_train_and_map_as_their_specs_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched()
    monkeypatch.setattr(build, "make_backend", lambda *_: watched)
    config = tiny_config(
        str(tmp_path),
        data={"phantom": {"lesions": 42, "views": 1, "imbalance": 0.0}},
        loop={
            "rounds": 1,
            "budget": 6,
            "mine_from": "crossfit",
            "crossfit_folds": 2,
            "arms": ["real", "hard", "dcgan"],
        },
        gan={"steps": 2, "batch_size": 8, "width": 8},
        **{part: {"steps": 2} for part in ("embedder", "vae", "denoiser", "judge", "classifier")},
    )
    build.run(config)
    assert {"vae", "judge", "crossfit", "gan", "embedder", "synthesize", "accept"} <= set(watched.used)
    for name, used in watched.used.items():
        spec = find(name)
        said = {flag for flag in ("trains", "maps") if getattr(spec, flag)}
        assert used <= said, f"{name} {used} but its spec says {said}"
        if name != "mine":  # which maps for some policies alone
            assert used == said, f"{name} {used} but its spec says {said}"


def test_trainings_hear_how_far_apart_their_checkpoints_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[TrainEnv] = []

    def stage(_name: str, context: Any, _params: Any) -> None:
        context.launch(seen.append)

    monkeypatch.setattr(backends, "run_stage", stage)
    call = StageCall(
        stage="vae", out=tmp_path, inputs={}, params={}, seed=0, threads=1, device="cpu", precision="float32",
        checkpoint=tmp_path,
    )  # fmt: skip
    backend = build.make_backend(BackendConfig(checkpoint_minutes=5.0))
    assert backend == LocalBackend(5.0)
    for chosen in (backend, LocalBackend()):
        chosen.run(call, no_progress)
    assert [env.checkpoint_minutes for env in seen] == [5.0, 0.0]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_stage_has_the_threads_that_it_is_given_and_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """Matrix libraries take every core by themselves: sums, and the speed of what runs beside, depend on the machine."""
    seen: list[set[int]] = []

    def run(context: StageContext, params: Params) -> None:
        np.ones((64, 64)) @ np.ones((64, 64))
        pools = [p["num_threads"] for p in threadpool_info() if p["user_api"] in ("blas", "openmp")]
        seen.append({*pools, torch.get_num_threads()})

    stage = Stage(name="vae", params=Params, run=run, files={})
    monkeypatch.setattr("engine.stages.find", lambda _name: stage)
    with threadpool_limits(3):
        call = StageCall(
            stage="vae", out=tmp_path, inputs={}, params={}, seed=0, threads=threads, device="cpu",
            precision="float32", checkpoint=tmp_path,
        )  # fmt: skip
        LocalBackend().run(call, no_progress)
        assert {p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"} == {3}, "as before"
    assert seen == [{threads}]


@pytest.mark.parametrize("threads", [1, 2])
def test_who_trains_or_maps_elsewhere_has_them_too(threads: int) -> None:
    """A Ray worker is in no stage of its own: it sets what it has when it begins, whatever the task before it had."""
    kept = torch.get_num_threads()
    with threadpool_limits(3):
        TrainEnv(threads=threads).begin()
        pools = [p["num_threads"] for p in threadpool_info() if p["user_api"] in ("blas", "openmp")]
        assert {*pools, torch.get_num_threads()} == {threads}
    torch.set_num_threads(kept)
