"""kill -9 of the driver at random moments: the same command finishes with the same report, nothing is run twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.integration.tiny import tiny_tree

TIMING = {"seconds", "foundation_seconds"}
KILLS = int(os.environ.get("HARDCASE_KILLS", "3"))


def command(root: Path, name: str) -> list[str]:
    config = root / f"{name}.yaml"
    config.write_text(
        yaml.safe_dump(tiny_tree(str(root / f"out-{name}"), loop={"rounds": 1})), encoding="utf-8"
    )
    return [sys.executable, "-m", "engine", "run", str(config)]


def figures(value: object) -> object:
    """The report without wall-clock seconds."""
    if isinstance(value, dict):
        return {k: figures(v) for k, v in value.items() if k not in TIMING}
    return [figures(v) for v in value] if isinstance(value, list) else value


def finish(arguments: list[str]) -> None:
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def kill_somewhere(arguments: list[str], seconds: float) -> bool:
    """Start the command, kill -9 its whole session after ``seconds``; True when it was still running."""
    process = subprocess.Popen(
        arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


@pytest.mark.slow
def test_killed_runs_end_like_one_that_was_not(tmp_path: Path) -> None:
    start = time.monotonic()
    finish(command(tmp_path, "whole"))
    duration = time.monotonic() - start
    killed = command(tmp_path, "killed")
    moments = random.Random(7)
    kills = sum(kill_somewhere(killed, moments.uniform(0.2, 0.7) * duration) for _ in range(KILLS))
    print(f"{kills} of {KILLS} attempts were killed; an uninterrupted run takes {duration:.0f} s")
    assert kills >= 1
    finish(killed)
    reports = [
        json.loads((tmp_path / f"out-{n}" / "tiny" / "report.json").read_text()) for n in ("whole", "killed")
    ]
    assert figures(reports[0]) == figures(reports[1])
    log = (tmp_path / "out-killed" / "tiny" / "stages.jsonl").read_text().splitlines()
    ran = [entry["key"] for entry in map(json.loads, log) if entry["ran"]]
    assert len(ran) == len(set(ran)), "a finished stage was run again"
