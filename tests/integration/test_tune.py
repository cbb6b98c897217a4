"""A sweep on tiny phantoms: kill -9 half way, run the same command again, and it ends as one that was not killed."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import filelock
import pandas as pd
import pytest
import ray
import yaml
from typer.testing import CliRunner

from engine import build
from engine.cli import app
from engine.errors import ConfigError
from engine.execution.progress import QuietListener
from engine.store import RunFolder
from engine.tuning import ray_tune, sweep
from experiments import tune
from tests.engine.tuning.test_sweep import InProcess
from tests.integration.test_kill_resume import finish
from tests.integration.tiny import copy_stages, tiny_tree
from tests.processes import hardcase

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.ray]

SPACE = {
    "policy.mining.name": ["margin", "entropy", "random"],
    "synthesis.guidance_scale": {"uniform": [1.0, 3.0]},
}
TUNE = {"trials": 3, "concurrent": 1, "metric": "nll"}
REPORTS_BEFORE_KILL = 3


def command(root: Path, name: str, **sections: Any) -> list[str]:
    config = root / f"{name}.yaml"
    tree = tiny_tree(str(root / f"out-{name}"), loop={"rounds": 1, "budget": 6, "arms": ["hard"]}, **sections)
    config.write_text(yaml.safe_dump({**tree, "search_space": SPACE, "tune": TUNE}), encoding="utf-8")
    return ["tune", str(config)]


def sweep_of(root: Path, name: str) -> Path:
    return root / f"out-{name}" / "tiny"


def events(root: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (sweep_of(root, name) / "journal.jsonl").read_text().splitlines()]


def reports(path: Path) -> int:
    return path.read_text().count('"report"') if path.exists() else 0


def kill_half_way(root: Path, name: str, arguments: list[str]) -> None:
    driver = hardcase(root / "said.txt", *arguments)
    journal = sweep_of(root, name) / "journal.jsonl"
    while reports(journal) < REPORTS_BEFORE_KILL:
        assert driver.wait(0.05) is None, f"the sweep ended before it could be killed: {driver.said()}"
    driver.send(signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL


def wait_for_orphans(folder: Path) -> None:
    """Wait until the killed driver's workers let go of their trials, longer than a rerun does: this machine may be slow."""
    for lock in folder.glob("trials/*/.lock"):
        with filelock.FileLock(lock).acquire(timeout=600):
            pass


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, tiny_run: Path, mlflow_tables: Path) -> Path:
    """Two sweeps of one config: ``whole``, in this process, and ``killed`` on Ray half way and run again.

    ``whole`` finds a foundation; its trials come one after the other, as those of one concurrent trial on Ray do.
    """
    root = tmp_path_factory.mktemp("tune")
    copy_stages(tiny_run, root / "out-whole")
    command(root, "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_tune, "Cluster", InProcess)
        sweep.tune(build.load(root / "whole.yaml"), listener=QuietListener())
    killed = command(root, "killed", tracking={"kind": "mlflow", "uri": f"sqlite:///{root}/mlflow.db"})
    shutil.copy(mlflow_tables, root / "mlflow.db")
    kill_half_way(root, "killed", killed)
    wait_for_orphans(sweep_of(root, "killed"))
    assert len(events(root, "killed")) < len(events(root, "whole"))
    print(finish(root / "said.txt", killed))
    return root


def test_a_killed_sweep_decides_as_one_that_was_not(swept: Path) -> None:
    assert events(swept, "killed") == events(swept, "whole")
    ended = [e for e in events(swept, "whole") if e["event"] == "end"]
    assert [e["trial"] for e in ended] == [1, 2, 3]
    assert {e["status"] for e in ended} <= {"finished", "stopped"}


def test_no_finished_stage_was_run_twice_and_trials_share_what_they_can(swept: Path) -> None:
    logs = sorted(sweep_of(swept, "killed").glob("trials/*/stages.jsonl"))
    assert [path.parent.name for path in logs] == ["0000", "0001", "0002", "0003"]
    entries = {
        path.parent.name: [json.loads(line) for line in path.read_text().splitlines()] for path in logs
    }
    ran = [e["key"] for lines in entries.values() for e in lines if e["ran"]]
    assert len(ran) == len(set(ran)), "a finished stage was run again"
    foundation = {
        "images",
        "split",
        "embedder",
        "index",
        "vae",
        "latents",
        "denoiser",
        "judge",
        "features",
        "challenging",
    }
    for name, lines in entries.items():
        own = {e["stage"] for e in lines if e["ran"]}
        assert (foundation <= own) == (name == "0000")
        assert not any(e["ran"] for e in lines if e["role"].startswith("rounds/0000/") and name != "0000")


def test_every_trial_is_an_ordinary_run(swept: Path) -> None:
    folder = RunFolder.open(sweep_of(swept, "killed") / "trials" / "0001")
    assert folder.cache_root == swept / "out-killed" / "stages"
    assert folder.stage("foundation/vae").path.is_dir()
    report = json.loads((folder.path / "report.json").read_text())
    assert report["rounds"][1]["arm"] == "hard"


def test_the_best_is_chosen_on_val_and_is_a_ready_config(swept: Path) -> None:
    folder = sweep_of(swept, "killed")
    found = json.loads((folder / "tune.json").read_text())
    finished = [t for t in found["trials"] if t["status"] == "finished"]
    assert found["best"]["value"] == min(t["value"] for t in finished)
    assert "test/" not in json.dumps(found)
    for trial in found["trials"]:
        last = str(max(map(int, trial["values"])))
        assert trial["val"][last]["val/nll"] == trial["value"]
    best = build.load(folder / "best.yaml")
    assert best.synthesis.guidance_scale == found["best"]["settings"]["synthesis.guidance_scale"]
    assert (best.name, best.search_space) == ("tiny_best", {})
    assert "Val chose it" in (folder / "best.yaml").read_text()
    rows = pd.read_parquet(folder / "trials.parquet")
    assert len(rows) == sum(len(t["values"]) for t in found["trials"])
    assert {"trial", "status", "round", "value", "val/balanced_accuracy", "policy.mining.name"} <= set(
        rows.columns
    )


def test_each_trial_is_a_child_run_of_one_parent(swept: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{swept}/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    runs = client.search_runs([experiment.experiment_id])
    parents = [r for r in runs if "mlflow.parentRunId" not in r.data.tags]
    assert [(r.info.run_name, r.info.status) for r in parents] == [("tiny", "FINISHED")]
    children = {
        r.info.run_name: r for r in runs if r.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id
    }
    assert sorted(children) == ["trial 1", "trial 2", "trial 3"]
    found = json.loads((sweep_of(swept, "killed") / "tune.json").read_text())
    for trial in found["trials"]:
        data = children[f"trial {trial['trial']}"].data
        assert data.params["policy.mining.name"] == trial["settings"]["policy.mining.name"]
        history = client.get_metric_history(children[f"trial {trial['trial']}"].info.run_id, "val/nll")
        assert {m.step: m.value for m in history} == {int(k): v for k, v in trial["values"].items()}
        assert data.tags["trial.status"] == trial["status"]
    assert {f.path for f in client.list_artifacts(parents[0].info.run_id)} >= {
        "tune.json",
        "best.yaml",
        "trials.parquet",
    }


def test_the_experiment_counts_a_stage_once_and_pairs_the_winner_with_random(
    swept: Path, tmp_path: Path
) -> None:
    folder = sweep_of(swept, "killed")
    found = json.loads((folder / "tune.json").read_text())
    cost = tune.cost(folder, found)
    assert cost["stages_run_twice"] == 0
    assert cost["seconds_sweep"] < cost["seconds_separate_runs"]
    seeds = tune.fresh_seeds(folder / "best.yaml", [1, 2])
    difference = seeds["winner_minus_random"]["test"]["nll"]
    assert difference["low"] <= difference["value"] <= difference["high"]
    assert len(difference["by_seed"]) == 2
    figures = {**found, "sweep": cost, "winner_against_random": seeds}
    tune.draw(figures, tmp_path / "tune.png")
    assert (tmp_path / "tune.png").stat().st_size > 10_000


def test_a_finished_sweep_asks_nothing_of_ray_and_another_search_is_refused(swept: Path) -> None:
    again = command(swept, "whole")
    runner = CliRunner(env={"COLUMNS": "200"})
    done = runner.invoke(app, again)
    assert done.exit_code == 0, done.output
    assert "trial 1  round" not in done.stdout
    assert not ray.is_initialized()
    other = runner.invoke(app, [*again, "tune.seed=5"])
    assert other.exit_code == 2
    assert "tune.seed (0 there, 5 now)" in " ".join(other.stderr.split())
    with pytest.raises(ConfigError, match="holds a sweep"):
        build.run(build.load(swept / "whole.yaml"))
