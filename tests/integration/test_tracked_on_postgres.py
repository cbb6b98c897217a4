"""A run logged to an MLflow server on PostgreSQL that is killed in mid-round leaves what an undisturbed SQLite one does."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import build
from engine.config import Config
from engine.tracking import registry, run_log
from tests.integration.postgres import Cluster, Server, cluster_and_server
from tests.integration.tiny import tiny_config

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(1800)]

ITS_OWN = ("hardcase.key", "hardcase.run", "hardcase.model_id", "mlflow.parentRunId", "mlflow.user")
"""Tags whose values are ids."""


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Cluster, Server]]:
    with cluster_and_server() as both:
        yield both


def dies_once(work: Callable[..., Any], death: Callable[[], None], at: int = 1) -> Callable[..., Any]:
    """Return ``work``, after whose call number ``at`` the server dies."""
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        result = work(*args, **kwargs)
        if calls == at:
            death()
        return result

    return wrapped


def contents(uri: str) -> dict[str, Any]:
    """Return all that the server holds of the experiment, without ids, times and places."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("finished")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    models = client.search_logged_models([experiment.experiment_id])
    versions = client.search_model_versions("name = 'finished'")
    return {
        "experiment": experiment.tags.get("mlflow.experimentKind"),
        "runs": sorted((described(client, run) for run in runs), key=lambda run: run["name"]),
        "models": sorted(
            (m.name, str(m.status), model_files(client, m.model_id), figures_of(m)) for m in models
        ),
        "versions": sorted(sorted(kept(v.tags).items()) for v in versions),
        "champion": kept(client.get_model_version_by_alias("finished", "champion").tags),
    }  # fmt: skip


def model_files(client: Any, model_id: str) -> list[str]:
    """What lies at the top of a model, without what MLflow puts into a local store when somebody loads it by its name."""
    found = [item.path for item in client.list_logged_model_artifacts(model_id)]
    return sorted(path for path in found if path != "registered_model_meta")


def figures_of(model: Any) -> list[tuple[str, float, int, str, str]]:
    """Every figure of a model, with its round and the images it is of."""
    return sorted((m.key, m.value, m.step, m.dataset_name, m.dataset_digest) for m in model.metrics)


def described(client: Any, run: Any) -> dict[str, Any]:
    run_id = run.info.run_id
    histories = {
        name: [(m.step, m.value) for m in client.get_metric_history(run_id, name)]
        for name in run.data.metrics
    }
    whole = client.get_run(run_id)
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "params": {name: value for name, value in run.data.params.items() if name not in ("output", "tracking.uri")},
        "tags": kept(run.data.tags),
        "metrics": {name: sorted(history) for name, history in histories.items()},
        "artifacts": {path: digest(client, run_id, path) for path in files(client, run_id)},
        "datasets": [(i.dataset.name, i.dataset.digest, i.dataset.profile) for i in whole.inputs.dataset_inputs],
        "models": [output.step for output in whole.outputs.model_outputs],
    }  # fmt: skip


def kept(tags: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in tags.items() if name not in ITS_OWN}


def files(client: Any, run_id: str, folder: str | None = None) -> list[str]:
    found = client.list_artifacts(run_id, folder)
    inner = [path for f in found if f.is_dir for path in files(client, run_id, f.path)]
    return [f.path for f in found if not f.is_dir] + inner


def digest(client: Any, run_id: str, path: str) -> str:
    """The checksum of a logged file; "" of those that say when or where the run was made."""
    if Path(path).name in ("report.html", "config.yaml", "report.json"):
        return ""
    return hashlib.sha256(Path(client.download_artifacts(run_id, path)).read_bytes()).hexdigest()


def config_with(output: Path, **tracking: str) -> Config:
    """The config of `finished_run`, with another output."""
    return tiny_config(
        str(output),
        name="finished",
        loop={"rounds": 1},
        classifier={"steps": 30},
        tracking={"kind": "mlflow", **tracking},
    )


def play(config: Config) -> None:
    """Run or resume, and let the sender finish: on a busy machine it goes on behind the end of the run."""
    build.run(config)
    for thread in threading.enumerate():
        if thread.name == "hardcase-tracking":
            thread.join(300)
            assert not thread.is_alive()


def test_what_a_killed_server_and_database_missed_is_there_once(
    finished_run: Path, running: tuple[Cluster, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")  # a server that has just started is slow
    cluster, server = running
    output = tmp_path / "runs"
    output.mkdir()
    (output / "stages").symlink_to(finished_run.parent / "stages")
    config = config_with(output, uri=server.uri)
    outbox = output / "finished" / "tracking_outbox" / "calls.jsonl"

    def crash() -> None:
        server.kill()
        cluster.kill()

    with monkeypatch.context() as patch:  # round 0 is there, its model is begun and has no files
        patch.setattr(registry, "_stamp", dies_once(registry._stamp, server.kill))
        play(config)
    assert "register_champion/0000" in outbox.read_text() and "log_round/0000" not in outbox.read_text()

    server.start()
    with monkeypatch.context() as patch:  # metrics of round 1 are there, its files and its end are not
        patch.setattr(run_log, "log_files", dies_once(run_log.log_files, crash))
        play(config)
    assert "log_round/0001" in outbox.read_text()

    cluster.start()
    server.upgrade()
    server.start()
    play(config)
    assert not outbox.parent.exists()
    undisturbed = contents(f"sqlite:///{finished_run.parent.parent / 'mlflow.db'}")
    assert len(undisturbed["runs"]) == 4
    found = contents(server.uri)
    for mine, theirs in zip(found.pop("runs"), undisturbed.pop("runs"), strict=True):
        assert {key for key in theirs if mine[key] != theirs[key]} == set(), (mine, theirs)
    assert found == undisturbed
