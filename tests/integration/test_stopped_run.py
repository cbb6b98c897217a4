"""SIGTERM in the middle of a run: exit 143, the tracked run closed as KILLED, and a rerun that ends as if uninterrupted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine import build
from tests.integration.test_kill_resume import figures, finish
from tests.integration.tiny import tiny_config, tiny_tree

STEPS = {"steps": 60, "checkpoint_every": 1000}
SECTIONS: dict[str, Any] = {"loop": {"rounds": 1}, "vae": STEPS, "denoiser": STEPS}


def command(root: Path, name: str) -> list[str]:
    tree = tiny_tree(str(root / name / "runs"), **SECTIONS, tracking={"kind": "mlflow"})
    path = root / f"{name}.yaml"
    path.write_text(yaml.safe_dump(tree))
    return [sys.executable, "-m", "engine", "run", str(path)]


def report(root: Path, name: str) -> object:
    return figures(json.loads((root / name / "runs" / "tiny" / "report.json").read_text()))


@pytest.mark.slow
def test_a_stopped_run_is_closed_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    build.run(tiny_config(str(tmp_path / "whole" / "runs"), **SECTIONS))
    stages = tmp_path / "stopped" / "runs" / "stages"
    process = subprocess.Popen(
        command(tmp_path, "stopped"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not list(stages.glob("denoiser-*.checkpoint")):
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 143, error
    assert "stopped by SIGTERM" in error
    assert "hardcase run" in error
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'stopped' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["KILLED"]
    finish(command(tmp_path, "stopped"))
    assert report(tmp_path, "stopped") == report(tmp_path, "whole")
