"""SIGTERM in the middle of a run: exit 143, the tracked run closed as KILLED, and a rerun that ends as if uninterrupted."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
import yaml

from tests.integration.test_kill_resume import figures, finish
from tests.integration.tiny import copy_stages, tiny_tree
from tests.processes import hardcase

pytestmark = pytest.mark.faults


def command(root: Path, name: str, backend: str = "local") -> list[str]:
    """The command of ``tiny_run``, tracked: on the way from the denoiser to its end there is time for a signal."""
    sections = {"loop": {"rounds": 1}, "tracking": {"kind": "mlflow"}, "backend": {"kind": backend}}
    tree = tiny_tree(str(root / name / "runs"), **sections)
    path = root / f"{name}.yaml"
    path.write_text(yaml.safe_dump(tree))
    return ["run", str(path)]


def report(run: Path) -> object:
    return figures(json.loads((run / "report.json").read_text()))


@pytest.mark.slow
def test_a_stopped_run_is_closed_and_goes_on(
    tmp_path: Path, tiny_run: Path, mlflow_tables: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    copy_stages(tiny_run, tmp_path / "stopped" / "runs", up_to="denoiser")
    shutil.copy(mlflow_tables, tmp_path / "stopped" / "mlflow.db")
    stages = tmp_path / "stopped" / "runs" / "stages"
    process = hardcase(tmp_path / "said.txt", *command(tmp_path, "stopped"))
    while not list(
        stages.glob("denoiser-*.attempt-*/checkpoint/checkpoint*.safetensors")
    ):  # the training is under way
        assert process.wait(0.05) is None, process.said()
    process.send(signal.SIGTERM)
    assert process.wait(120) == 143, process.said()
    assert "stopped by SIGTERM" in process.said()
    assert "hardcase run" in process.said()
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'stopped' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["KILLED"]
    finish(tmp_path / "said.txt", command(tmp_path, "stopped"))
    assert report(stages.parent / "tiny") == report(tiny_run)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.heavy  # test_ray_resources.py stops a process that started Ray in another thread
@pytest.mark.parametrize("finished", [2, 4, 8])
def test_a_run_that_is_stopped_while_ray_runs_its_stages_ends_in_order(
    tmp_path: Path, tiny_run: Path, finished: int
) -> None:
    """Stages run side by side in threads; Ray is left when none of them is on its way any more."""
    process = hardcase(tmp_path / "said.txt", *command(tmp_path, "stopped", "ray"))
    run = tmp_path / "stopped" / "runs" / "tiny"
    log = run / "stages.jsonl"
    while not (log.exists() and len(log.read_text().splitlines()) >= finished):
        assert process.wait(0.05) is None, process.said()
    process.send(signal.SIGTERM)
    assert process.wait(40) == 143, process.said()
    assert "stopped by SIGTERM" in process.said()
    finish(tmp_path / "said.txt", command(tmp_path, "stopped", "ray"))
    assert report(run) == report(tiny_run)
