"""kill -9 of the driver at random moments: the same command finishes with the same report, nothing is run twice."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.store.files import checksums
from tests.integration.tiny import tiny_tree
from tests.processes import hardcase

pytestmark = pytest.mark.faults

TIMING = {"seconds", "foundation_seconds"}
KILLS = int(os.environ.get("HARDCASE_KILLS", "2"))
"""CI has time for two; HARDCASE_KILLS=10 python -m pytest -s tests/integration/test_kill_resume.py takes some minutes."""
AFTER_STAGES = 6
"""The Ray driver is killed once so many stages are finished, while the next one trains."""


def command(root: Path, name: str, **backend: str) -> list[str]:
    config = root / f"{name}.yaml"
    tree = tiny_tree(str(root / f"out-{name}"), loop={"rounds": 1}, backend=backend)
    config.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return ["run", str(config)]


def figures(value: Any) -> Any:
    """The report without wall-clock seconds."""
    if isinstance(value, dict):
        return {k: figures(v) for k, v in value.items() if k not in TIMING}
    return [figures(v) for v in value] if isinstance(value, list) else value


def finish(said: Path, arguments: list[str]) -> str:
    """Run the command to its end; returns what it printed, which lies in the file ``said``."""
    done = hardcase(said, *arguments)
    assert done.wait() == 0, done.said()[-4000:]
    return done.said()


def kill_somewhere(said: Path, arguments: list[str], log: Path, stages: int, seconds: float) -> bool:
    """Start the command, kill -9 its whole session ``seconds`` after so many stages; True when it was still running."""
    process = hardcase(said, *arguments)
    while not log.exists() or log.read_text().count('"ran": true') < stages:
        if process.wait(0.02) is not None:
            return False
    if process.wait(seconds) is None:
        process.kill()
        return True
    return False


def report_of(root: Path, name: str) -> Any:
    return figures(json.loads((root / f"out-{name}" / "tiny" / "report.json").read_text()))


def assert_nothing_ran_twice(root: Path, name: str) -> None:
    log = (root / f"out-{name}" / "tiny" / "stages.jsonl").read_text().splitlines()
    ran = [entry["key"] for entry in map(json.loads, log) if entry["ran"]]
    assert len(ran) == len(set(ran)), "a finished stage was run again"


@pytest.mark.slow
def test_killed_runs_end_like_one_that_was_not(tmp_path: Path, tiny_run: Path) -> None:
    said = tmp_path / "said.txt"
    stages = len((tiny_run / "stages.jsonl").read_text().splitlines())
    whole = figures(json.loads((tiny_run / "report.json").read_text()))
    moments = random.Random(7)
    kills = runs = 0
    while kills < KILLS:  # a run that gets to its end before its next kill is followed by a fresh one
        runs += 1
        killed, log = command(tmp_path, f"killed{runs}"), tmp_path / f"out-killed{runs}/tiny/stages.jsonl"
        done = 0
        while kills < KILLS and done < stages:
            done = moments.randint(done, min(stages, done + stages // 2))
            if not kill_somewhere(said, killed, log, done, moments.uniform(0.0, 0.5)):
                break
            kills += 1
        finish(said, killed)
        assert report_of(tmp_path, f"killed{runs}") == whole
        assert_nothing_ran_twice(tmp_path, f"killed{runs}")
    print(f"{kills} kills over {runs} runs of {stages} stages")


@pytest.mark.slow
@pytest.mark.ray
def test_a_killed_driver_on_ray_goes_on_too(tmp_path: Path, tiny_run: Path) -> None:
    """The driver dies without a word; its Ray processes may live on for a while and must not harm the rerun."""
    killed = command(tmp_path, "killed", kind="ray")
    log = tmp_path / "out-killed" / "tiny" / "stages.jsonl"
    said = tmp_path / "said.txt"
    driver = hardcase(said, *killed)
    while not (log.exists() and len(log.read_text().splitlines()) >= AFTER_STAGES):
        assert driver.wait(0.05) is None, f"the run ended before it could be killed: {driver.said()}"
    driver.send(signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL
    finish(said, killed)
    whole = json.loads((tiny_run / "report.json").read_text())
    assert report_of(tmp_path, "killed") == figures(whole)
    images = [checksums(run / "rounds" / "0001" / "synthetic") for run in (log.parent, tiny_run)]
    assert images[0] == images[1] != {}
    assert_nothing_ran_twice(tmp_path, "killed")
