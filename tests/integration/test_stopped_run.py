"""SIGTERM or Ctrl-C in a run: exit 143 or 130, the tracked run closed as KILLED, and a rerun as if uninterrupted."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest
import yaml

from tests.integration.test_kill_resume import figures, finish
from tests.integration.tiny import copy_stages, tiny_tree
from tests.processes import Forked, hardcase

pytestmark = pytest.mark.faults


def command(root: Path, name: str, backend: str = "local") -> list[str]:
    """The command of ``tiny_run``, tracked: on the way from the denoiser to its end there is time for a signal."""
    sections = {"loop": {"rounds": 1}, "tracking": {"kind": "mlflow"}, "backend": {"kind": backend}}
    tree = tiny_tree(str(root / name / "runs"), **sections)
    path = root / f"{name}.yaml"
    path.write_text(yaml.safe_dump(tree))
    return ["run", str(path)]


def frozen_in_the_denoiser(process: Forked, stages: Path) -> bool:
    """Freeze the process while its denoiser trains, a checkpoint behind it; kill it where that is over."""

    def trains() -> bool:
        return any(stages.glob("denoiser-*.attempt-*/checkpoint/checkpoint*.safetensors"))

    def over() -> bool:
        return any(re.fullmatch(r"denoiser-\w+", path.name) for path in stages.iterdir() if path.is_dir())

    while not trains() and not over():
        code = process.wait(0.05)
        assert code is None or (code == 0 and over()), process.said()
    with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):  # the whole run is over
        process.send(signal.SIGSTOP)
        while process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
            time.sleep(0.01)
        if trains():
            return True
        process.kill()
    return False


def report(run: Path) -> object:
    return figures(json.loads((run / "report.json").read_text()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGTERM, 143, "stopped by SIGTERM"),
        pytest.param(signal.SIGINT, 130, "interrupted", marks=pytest.mark.heavy),
    ],
)
def test_a_stopped_run_is_closed_and_goes_on(
    number: int,
    code: int,
    said: str,
    tmp_path: Path,
    tiny_run: Path,
    mlflow_tables: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    stages = tmp_path / "stopped" / "runs" / "stages"
    for _ in range(20):
        copy_stages(tiny_run, tmp_path / "stopped" / "runs", up_to="denoiser")
        shutil.copy(mlflow_tables, tmp_path / "stopped" / "mlflow.db")
        process = hardcase(tmp_path / "said.txt", *command(tmp_path, "stopped"))
        if frozen_in_the_denoiser(process, stages):
            break
        shutil.rmtree(tmp_path / "stopped")
    else:
        pytest.fail("twenty times the denoiser was trained before this process looked")
    process.send(number)
    process.send(signal.SIGCONT)
    assert process.wait(120) == code, process.said()
    assert said in process.said()
    assert "goes on where it stopped: hardcase run" in process.said()
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
