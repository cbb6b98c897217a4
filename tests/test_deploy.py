"""The files for clusters: Ray's own schema, a token on every port, configs that exist, a SLURM script that queues again."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine import build

ROOT = Path(__file__).parents[1]
LAUNCHER = [ROOT / "ray_cluster.yaml", ROOT / "deploy" / "on_premise.yaml"]
RAYJOB = ROOT / "deploy" / "rayjob.yaml"
SLURM = ROOT / "deploy" / "slurm.sh"


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", LAUNCHER, ids=lambda p: p.stem)
def test_the_launchers_schema_holds(path: Path) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(read(path)))


@pytest.mark.parametrize("path", LAUNCHER, ids=lambda p: p.stem)
def test_every_port_wants_the_token_and_none_is_open_without(path: Path) -> None:
    tree = read(path)
    starts = [
        c
        for key in ("head_start_ray_commands", "worker_start_ray_commands")
        for c in tree[key]
        if "ray start" in c
    ]
    assert len(starts) == 2 and all("RAY_AUTH_MODE=token" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert any(target.endswith("/.ray/auth_token") for target in tree["file_mounts"])
    assert any("chmod 600 ~/.ray/auth_token" in command for command in tree["setup_commands"])


@pytest.mark.parametrize("path", LAUNCHER, ids=lambda p: p.stem)
def test_a_node_without_the_shared_disk_does_not_join(path: Path) -> None:
    (probe,) = [c for c in read(path)["setup_commands"] if c.startswith("mountpoint -q /shared")]
    done = subprocess.run(["bash", "-c", probe], check=False)
    assert done.returncode != 0, "/shared is no mount here"


def test_the_cluster_grows_from_no_worker_and_has_a_fallback_for_spot() -> None:
    kinds = read(LAUNCHER[0])["available_node_types"]
    workers = {name: kind for name, kind in kinds.items() if name != "head"}
    spot = [name for name, kind in workers.items() if "InstanceMarketOptions" in kind["node_config"]]
    assert all(kind["min_workers"] == 0 for kind in workers.values())
    assert len(spot) == 1 and len(workers) == 2


def test_the_rayjob_runs_a_config_that_exists_with_the_ray_that_is_pinned() -> None:
    spec = read(RAYJOB)["spec"]
    command, action, config, *overrides = shlex.split(spec["entrypoint"])
    assert (command, action) == ("hardcase", "run")
    assert build.load(ROOT / config, overrides).backend.kind == "ray"
    pinned = re.search(r"^ray==(\S+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    cluster = spec["rayClusterSpec"]
    assert pinned is not None and cluster["rayVersion"] == pinned[1]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0", "no stage on the head"
    (group,) = cluster["workerGroupSpecs"]
    assert group["minReplicas"] == 0
    for part in (cluster["headGroupSpec"], group):
        (container,) = part["template"]["spec"]["containers"]
        assert {"name": "shared", "mountPath": "/shared"} in container["volumeMounts"]


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """A clone whose commands, and SLURM's, only note how they were called; ``ray start --head`` stays until it is ended."""

    def command(path: Path, body: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'#!/usr/bin/env bash\necho "$(basename $0) $*" >> {tmp_path}/calls\n{body}\n')
        path.chmod(0o755)

    command(tmp_path / "bin/scontrol", '[ "$1" = show ] && printf "node1\\nnode2\\n"; true')
    command(tmp_path / "bin/srun", 'while [[ "$1" == --* ]]; do shift; done; exec "$@"')
    command(tmp_path / "bin/hostname", "echo 10.0.0.1")
    command(tmp_path / ".venv/bin/python", "echo secret-token")
    command(tmp_path / ".venv/bin/ray", 'if [ "$2" = --head ]; then exec sleep 300; fi')
    command(
        tmp_path / ".venv/bin/hardcase",
        f"trap 'touch {tmp_path}/checkpoint; exit 143' TERM\ntouch {tmp_path}/started\n"
        f"until grep -q 'ray start --block --address' {tmp_path}/calls; do sleep 0.02; done\n"
        'case "$2" in wait*) while true; do sleep 0.05; done;; esac\nexit 7',
    )
    return {
        "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_JOB_ID": "41",
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "8",
    }


def test_slurm_runs_on_a_head_and_workers_and_passes_the_exit_code_on(
    slurm: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run([SLURM, "config.yaml", "loop.rounds=1"], env=slurm, check=False, timeout=120)
    assert done.returncode == 7
    calls = (tmp_path / "calls").read_text()
    assert "hardcase run config.yaml loop.rounds=1 backend.kind=ray backend.address=10.0.0.1:20041" in calls
    assert "ray start --block --address=10.0.0.1:20041" in calls
    assert "secret-token" not in calls, "a token in an argument is read by everyone on the node"


@pytest.mark.parametrize("known", [True, False])
def test_slurm_that_ends_a_job_gets_a_checkpoint_and_queues_it_again(
    slurm: dict[str, str], tmp_path: Path, known: bool
) -> None:
    """Also where the signal comes when the run is started and the script has not yet noted its process id."""
    text = SLURM.read_text(encoding="utf-8")
    assert text.count("\nrun=$!\n") == 1
    script = tmp_path / "slurm.sh"
    script.write_text(text if known else text.replace("\nrun=$!\n", "\nwhile true; do sleep 0.05; done\n"))
    job = subprocess.Popen(["bash", script, "wait.yaml"], env=slurm, start_new_session=True)
    try:
        while not (tmp_path / "started").exists():
            assert job.poll() is None
            time.sleep(0.02)
        job.send_signal(signal.SIGTERM)
        assert job.wait(timeout=120) == 143
    finally:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
    assert (tmp_path / "checkpoint").exists()
    assert "scontrol requeue 41" in (tmp_path / "calls").read_text()


def test_slurm_without_a_config_says_how_to_call_it(slurm: dict[str, str]) -> None:
    done = subprocess.run([SLURM], env=slurm, check=False, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr.startswith("usage: sbatch deploy/slurm.sh CONFIG")) == (2, True)
