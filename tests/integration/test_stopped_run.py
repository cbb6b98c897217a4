"""SIGTERM in the middle of a run: exit 143, the tracked run closed as KILLED, and a rerun that ends as if uninterrupted."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine import build
from tests.integration.test_kill_resume import figures, finish
from tests.integration.tiny import copy_stages, tiny_config, tiny_tree
from tests.processes import hardcase

SECTIONS: dict[str, Any] = {
    "loop": {"rounds": 1, "budget": 6},
    "denoiser": {"steps": 24, "checkpoint_every": 3},
}


def command(root: Path, name: str) -> list[str]:
    tree = tiny_tree(str(root / name / "runs"), **SECTIONS, tracking={"kind": "mlflow"})
    path = root / f"{name}.yaml"
    path.write_text(yaml.safe_dump(tree))
    return ["run", str(path)]


def report(root: Path, name: str) -> object:
    return figures(json.loads((root / name / "runs" / "tiny" / "report.json").read_text()))


@pytest.mark.slow
def test_a_stopped_run_is_closed_and_goes_on(
    tmp_path: Path, tiny_run: Path, mlflow_tables: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("whole", "stopped"):  # what both find there: everything up to the denoiser
        copy_stages(tiny_run, tmp_path / name / "runs")
    shutil.copy(mlflow_tables, tmp_path / "stopped" / "mlflow.db")
    build.run(tiny_config(str(tmp_path / "whole" / "runs"), **SECTIONS))
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
    assert report(tmp_path, "stopped") == report(tmp_path, "whole")
