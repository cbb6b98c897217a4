"""The Ray backend: bad addresses fail fast; one node, two nodes, actors and train workers give the local bits."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import build
from engine.config import BackendConfig
from engine.errors import ConfigError, StageError
from engine.store.files import checksums
from tests.integration.tiny import tiny_config

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.ray

TIMING = {"seconds", "foundation_seconds"}


def figures(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: figures(v) for k, v in value.items() if k not in TIMING}
    return [figures(v) for v in value] if isinstance(value, list) else value


def run(root: Path, **backend: Any) -> tuple[Any, dict[str, str]]:
    """Run the tiny loop; returns the report without seconds, and the checksums of every synthetic PNG."""
    config = tiny_config(str(root), loop={"rounds": 1}, backend=backend)
    folder, report = build.run(config)
    return figures(json.loads(json.dumps(report))), checksums(folder.path / "rounds" / "0001" / "synthetic")


@pytest.fixture(scope="module")
def local_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("local")


@pytest.fixture(scope="module")
def local(local_root: Path) -> tuple[Any, dict[str, str]]:
    return run(local_root, kind="local")


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[str]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    yield cluster.address
    ray.shutdown()
    cluster.shutdown()


def test_an_address_that_does_not_answer_fails_within_seconds() -> None:
    from engine.execution.ray_backend import RayBackend

    start = time.monotonic()
    with pytest.raises(ConfigError, match=r"backend\.address: 127\.0\.0\.1:9 does not answer"):
        RayBackend(BackendConfig(kind="ray", address="127.0.0.1:9"))
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("address", ["ray://", "host:port", "a b", "127.0.0.1:99999"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    from engine.execution.ray_backend import RayBackend

    with pytest.raises(ConfigError, match=r"backend\.address"):
        RayBackend(BackendConfig(kind="ray", address=address))


def test_ray_is_neither_imported_nor_started_before_a_stage_runs() -> None:
    code = (
        "import sys; from engine.build import make_backend; from engine.config import BackendConfig; "
        "make_backend(BackendConfig(kind='ray')).close(); sys.exit('ray' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_more_gpus_than_there_are_is_refused_when_the_first_stage_runs(
    monkeypatch: pytest.MonkeyPatch, two_nodes: str
) -> None:
    from engine.execution.ray_backend import RayBackend

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
    local_root: Path, local: tuple[Any, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_address: str | None) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("engine.execution.ray_backend.connect", refuse)
    assert run(local_root, kind="ray") == local


@pytest.mark.slow
def test_one_node_gives_the_local_bits(tmp_path: Path, local: tuple[Any, dict[str, str]]) -> None:
    assert run(tmp_path, kind="ray") == local


@pytest.mark.slow
def test_two_nodes_actors_and_a_train_worker_give_the_local_bits(
    tmp_path: Path, local: tuple[Any, dict[str, str]], two_nodes: str
) -> None:
    assert run(tmp_path, kind="ray", address=two_nodes, map_workers=2, train_workers=1) == local


def counts(report: Any) -> list[dict[str, Any]]:
    """Everything of a report that is counted, not measured."""
    names = ("round", "arm", "n_real", "n_generated", "optimizer_steps")
    return [{name: entry[name] for name in names} for entry in report["rounds"]]


def first_losses(root: Path) -> dict[str, list[float]]:
    """The losses of the foundation's trainings and of round 0's classifier, whose starts do not depend on others."""
    found = {}
    for path in sorted((root / "stages").glob("*/*.json")):
        stage, read = path.parent.name.split("-")[0], json.loads(path.read_text())
        if (
            isinstance(read, dict)
            and "losses" in read
            and (stage != "classifier" or len(read["losses"]) == 10)
        ):
            found[stage] = read["losses"][:10]
    return found


@pytest.mark.slow
def test_one_gpu_that_trains_in_tasks_and_maps_on_actors_gives_the_local_bits(
    tmp_path: Path, local: tuple[Any, dict[str, str]]
) -> None:
    ray.shutdown()
    ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False)  # a GPU by name alone
    try:
        assert run(tmp_path, kind="ray", device="cpu", gpus_per_worker=1.0, map_workers=4) == local
    finally:
        ray.shutdown()


@pytest.mark.slow
def test_two_train_workers_give_the_same_counts_schema_and_losses(
    tmp_path: Path, local_root: Path, local: tuple[Any, dict[str, str]], two_nodes: str
) -> None:
    pair = run(tmp_path, kind="ray", address=two_nodes, train_workers=2)
    assert counts(pair[0]) == counts(local[0])
    assert len(pair[1]) == len(local[1])
    assert [sorted(entry) for entry in pair[0]["rounds"]] == [sorted(entry) for entry in local[0]["rounds"]]
    expected, found = first_losses(local_root), first_losses(tmp_path)
    assert set(found) == set(expected) == {"embedder", "vae", "denoiser", "classifier"}
    for stage, values in found.items():
        assert values == pytest.approx(expected[stage], abs=1e-3), stage


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
