"""The Ray backend: bad addresses fail fast; tasks, actors and train workers give the local bits.

A Ray Train worker takes 15 s to start. So one trainer with one worker, and one with two, play the fits of all stages.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine import build
from engine.classifier.train import FitJob, run_job
from engine.commands.cluster_findings import visited
from engine.config import BackendConfig
from engine.errors import ConfigError, StageError
from engine.execution.progress_file import ProgressFile
from engine.execution.ray_backend import RayBackend
from engine.stages import run_stage
from engine.store.files import checksums
from engine.training.plan import TrainEnv
from tests.engine.classifier.test_train import make_job, snapped, taught
from tests.engine.execution.again import call_again, files, stage_folder
from tests.fakes import no_progress
from tests.integration.tiny import tiny_config
from tests.processes import Forked

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.ray

TIMING = {"seconds", "foundation_seconds"}
TRAINED = {
    "embedder": "foundation/embedder",
    "vae": "foundation/vae",
    "denoiser": "foundation/denoiser",
    "classifier": "rounds/0000/real/classifier",
    "classifier again": "rounds/0001/hard/classifier",
}
"""Stages whose training starts from the local run's files, by their role in the run."""


def figures(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: figures(v) for k, v in value.items() if k not in TIMING}
    return [figures(v) for v in value] if isinstance(value, list) else value


def results(run: Path) -> tuple[Any, dict[str, str]]:
    """The report without seconds, and the checksums of every synthetic PNG."""
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    return figures(report), checksums(run / "rounds" / "0001" / "synthetic")


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[str]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    yield cluster.address
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def backend_on(two_nodes: str) -> Iterator[Callable[..., Any]]:
    """Make a backend on the two nodes."""
    made = []

    def make(profile: Path | None = None, **settings: Any) -> RayBackend:
        made.append(RayBackend(BackendConfig(kind="ray", address=two_nodes, **settings), profile))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


def test_an_address_that_does_not_answer_fails_within_seconds() -> None:
    start = time.monotonic()
    with pytest.raises(ConfigError, match=r"backend\.address: 127\.0\.0\.1:9 does not answer"):
        RayBackend(BackendConfig(kind="ray", address="127.0.0.1:9"))
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("address", ["ray://", "host:port", "a b", "127.0.0.1:99999"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match=r"backend\.address"):
        RayBackend(BackendConfig(kind="ray", address=address))


def test_ray_is_neither_imported_nor_started_before_a_stage_runs(tmp_path: Path) -> None:
    code = (
        "import sys; from engine.build import make_backend; from engine.config import BackendConfig; "
        "make_backend(BackendConfig(kind='ray')).close(); sys.exit('ray' in sys.modules)"
    )
    process = Forked(tmp_path / "said.txt", exec, code)  # a function of this module would import Ray
    assert process.wait() == 0, process.said()


def test_doctor_visits_every_node(two_nodes: str, tmp_path: Path) -> None:
    found = visited(two_nodes, str(tmp_path / "shared"))
    nodes = [one for one in found if one.what.startswith("node ")]
    assert len([one for one in nodes if "read and written" in one.text]) == 2, found
    assert "missing" not in {one.state for one in found}
    assert list((tmp_path / "shared").iterdir()) == [], "the probe is removed"
    assert not ray.is_initialized()


def test_more_gpus_than_there_are_is_refused_when_the_first_stage_runs(
    monkeypatch: pytest.MonkeyPatch, two_nodes: str
) -> None:
    asked = {"kind": "ray", "gpus_per_worker": 1.0}
    with pytest.raises(ConfigError, match=r"backend\.gpus_per_worker: 1 asked for, the cluster has 0 GPUs"):
        RayBackend(BackendConfig(**asked, address=two_nodes))
    ray.shutdown()
    monkeypatch.setattr("engine.execution.ray_backend.connect", lambda _address: ray.init(address=two_nodes))
    backend = RayBackend(BackendConfig(**asked))
    with pytest.raises(ConfigError, match=r"backend\.gpus_per_worker"):
        backend.run(None, lambda *_: None)  # type: ignore[arg-type]
    backend.close()
    assert not ray.is_initialized()


@pytest.mark.slow
def test_a_rerun_of_a_finished_run_does_not_start_ray(
    output: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_address: str | None) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("engine.execution.ray_backend.connect", refuse)
    before = results(tiny_run)
    build.run(tiny_config(str(output), name="tiny", loop={"rounds": 1}, backend={"kind": "ray"}))
    assert results(tiny_run) == before


@pytest.mark.slow
@pytest.mark.heavy  # the run of test_kill_resume.py, whose driver is killed half way, must give the same
def test_a_run_on_one_node_gives_the_local_bits(tmp_path: Path, tiny_run: Path) -> None:
    folder, _ = build.run(tiny_config(str(tmp_path), loop={"rounds": 1}, backend={"kind": "ray"}))
    assert results(folder.path) == results(tiny_run)


@pytest.mark.slow
@pytest.mark.parametrize(
    "role",
    [
        pytest.param("foundation/index", marks=pytest.mark.heavy),
        pytest.param("foundation/latents", marks=pytest.mark.heavy),
        "rounds/0000/real/predict",
        pytest.param("rounds/0001/hard/synthesize", marks=pytest.mark.heavy),
        pytest.param("rounds/0001/hard/accept", marks=pytest.mark.heavy),
    ],
)
def test_actors_on_two_nodes_give_the_local_bits(
    tmp_path: Path, tiny_run: Path, backend_on: Callable[..., Any], role: str
) -> None:
    call = call_again(tiny_run, role, tmp_path / "out")
    backend_on(map_workers=2, profile=tmp_path / "profile").run(call, lambda *_: None)
    assert files(call.out) == files(stage_folder(tiny_run, role))
    assert "one chunk, on one worker" in (tmp_path / "profile" / f"{call.title}.md").read_text()


@pytest.mark.slow
@pytest.mark.heavy  # its worker takes 15 s to start; the next tests train this stage and others through the same launch
def test_a_stage_trains_on_a_train_worker(
    tmp_path: Path, tiny_run: Path, backend_on: Callable[..., Any]
) -> None:
    call = call_again(tiny_run, TRAINED["vae"], tmp_path / "out")
    backend_on(train_workers=1).run(call, lambda *_: None)
    assert files(call.out) == files(stage_folder(tiny_run, TRAINED["vae"]))


def train_all(run: Path, root: Path, workers: int) -> dict[str, Path]:
    """Play the fits of all TRAINED stages, and a ``taught`` one, in one Ray Train trainer; returns each stage's folder."""
    from engine.execution.ray_stage import StageWork

    calls = {name: call_again(run, role, root / name) for name, role in TRAINED.items()}
    fits: list[Callable[[TrainEnv], None]] = []
    for call in calls.values():
        context = call.context(progress=lambda *_: None, mapper=None, launch=fits.append)  # type: ignore[arg-type]
        run_stage(call.stage, context, call.params)
    fits.append(functools.partial(run_job, taught_job(root / "taught")))
    call = replace(next(iter(calls.values())), out=root / "all")
    config = BackendConfig(kind="ray", train_workers=workers, shard_optimizer=workers > 1)
    note = ProgressFile(root / "progress.json")
    work = StageWork(config=config, call=call, cpus_per_task=1, note=note, profile=root / "profile")
    ray.get(ray.remote(launch_all).options(num_cpus=0).remote(work, fits))
    return {name: call.out for name, call in calls.items()}


def taught_job(folder: Path) -> FitJob:
    """A fit on soft labels and weights that keeps its weights on the way."""
    return snapped(taught(make_job(folder)), 5)


def launch_all(work: Any, fits: list[Callable[[TrainEnv], None]]) -> None:
    """Start the trainer in a task, as a stage does: in a driver that reconnected, its controller lost its reference."""
    work.launch(functools.partial(fit_each, fits))


def fit_each(fits: list[Callable[[TrainEnv], None]], env: TrainEnv) -> None:
    from engine.execution import profiling

    profiling.SECONDS = 3600.0  # in this worker: as many steps are watched as there are to be
    for fit in fits:
        fit(env)


@pytest.mark.slow
@pytest.mark.heavy  # its worker takes 15 s to start; two workers below train the same fits
def test_one_train_worker_gives_the_local_bits(
    tmp_path: Path, tiny_run: Path, backend_on: Callable[..., Any]
) -> None:
    backend_on()
    for name, folder in train_all(tiny_run, tmp_path, workers=1).items():
        assert files(folder) == files(stage_folder(tiny_run, TRAINED[name])), name
    run_job(taught_job(tmp_path / "here"), TrainEnv())
    for name in ("classifier.safetensors", "early.safetensors", "classifier.json"):
        assert (tmp_path / "taught" / name).read_bytes() == (tmp_path / "here" / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.heavy  # test_ray_resources.py plays the same turns of training and maps on one GPU
def test_one_gpu_that_trains_in_tasks_and_maps_on_actors_gives_the_local_bits(
    tmp_path: Path, tiny_run: Path
) -> None:
    """One stage tells as much as a run, whose every map starts actors: the judge trains and maps in turns."""
    ray.shutdown()
    ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False)  # a GPU by name alone
    try:
        backend = RayBackend(BackendConfig(kind="ray", device="cpu", gpus_per_worker=1.0, map_workers=2))
        call = call_again(tiny_run, "foundation/judge", tmp_path / "judge")
        backend.run(call, no_progress)
        assert files(call.out) == files(stage_folder(tiny_run, "foundation/judge"))
    finally:
        ray.shutdown()


@pytest.mark.slow
def test_two_train_workers_give_the_same_counts_schema_and_losses(
    tmp_path: Path, tiny_run: Path, backend_on: Callable[..., Any]
) -> None:
    backend_on()
    for name, folder in train_all(tiny_run, tmp_path, workers=2).items():
        expected, found = (read_facts(path) for path in (stage_folder(tiny_run, TRAINED[name]), folder))
        assert files(folder).keys() == files(stage_folder(tiny_run, TRAINED[name])).keys(), name
        assert found.keys() == expected.keys(), name
        assert found.get("optimizer_steps") == expected.get("optimizer_steps"), name
        assert found.get("n_rows") == expected.get("n_rows"), name
        assert found["losses"] == pytest.approx(expected["losses"], abs=1e-3), name
    run_job(taught_job(tmp_path / "here"), TrainEnv())
    losses = [read_facts(tmp_path / name)["losses"] for name in ("taught", "here")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)
    assert taught_job(tmp_path / "taught").snapshot.whole  # type: ignore[union-attr]
    (told,) = (tmp_path / "profile").glob("*.md")
    assert "5 steps after the first" in told.read_text(), "the first worker is watched"


def read_facts(folder: Path) -> dict[str, Any]:
    """The JSON of a trained stage that holds its losses."""
    (facts,) = [
        read
        for path in sorted(folder.glob("*.json"))
        if isinstance(read := json.loads(path.read_text(encoding="utf-8")), dict) and "losses" in read
    ]
    return facts


@pytest.mark.slow
def test_errors_of_a_stage_come_back_as_they_are(tmp_path: Path, two_nodes: str) -> None:
    config = tiny_config(
        str(tmp_path),
        backend={"kind": "ray", "address": two_nodes},
        data={"format": "folder", "root": str(tmp_path)},
    )
    with pytest.raises(Exception, match=str(tmp_path)) as caught:
        build.run(config)
    assert type(caught.value).__name__ == "DataError"
    assert not isinstance(caught.value, StageError)
