"""What a whole run takes beyond its stages, what a finished one takes again, and what a kill costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.artifacts import run_progress, run_stages
from experiments.lib.keeping import EXPERIMENTS, ROOT

CONFIG: Final = EXPERIMENTS / "configs" / "tune_phantom.yaml"
SETTINGS: Final = ("name=round", "loop.arms=[real,random,hard]", "denoiser.checkpoint_every=50")
KILLED_AT: Final = 0.5
"""Share of the denoiser's steps after which the process is killed."""
MOST: Final = {"whole": 1.05, "again": 3.0}


def measure(turns: int, full: bool) -> dict[str, Any]:
    """Return three rows in seconds by the clock; a run takes minutes, so each is played at most three times."""
    played = [one_turn() for _ in range(turns if full else min(turns, 3))]
    return {
        "whole run, over the sum of its stages": at_most(
            [turn["whole"] / turn["stages"] for turn in played], MOST["whole"], "",
            "the run's own stages, as stages.jsonl has them; the whole is the command from its start to its end",
        ),
        "a finished run, again": at_most(
            [turn["again"] for turn in played], MOST["again"], "s", "none: seconds of the command"
        ),
        "a run killed in its denoiser and begun again, over one left alone": at_most(
            [(turn["killed"] + turn["resumed"]) / turn["whole"] for turn in played], None, "",
            "the same run, left alone",
        ),
    }  # fmt: skip


def at_most(values: Sequence[float], most: float | None, unit: str, alternative: str) -> dict[str, Any]:
    """Return a row whose target is a bound from above: median, least and most over the turns."""
    middle = float(np.median(values))
    return {
        "value": {"median": middle, "least": float(min(values)), "most": float(max(values))},
        "unit": unit,
        "target": most,
        "met": None if most is None else middle <= most,
        "alternative": alternative,
    }


def one_turn() -> dict[str, float]:
    """Play a run, play it again, and play one that is killed; return the seconds of each, and of the stages."""
    with tempfile.TemporaryDirectory() as scratch:
        alone, killed = Path(scratch) / "alone", Path(scratch) / "killed"
        whole = seconds_of(alone)
        stages = sum(line.seconds for line in run_stages.read_log(alone / "round") if line.ran)
        again = seconds_of(alone)
        until = kill_in_denoiser(killed)
        return {
            "whole": whole,
            "stages": stages,
            "again": again,
            "killed": until,
            "resumed": seconds_of(killed),
        }


def begin(output: Path) -> subprocess.Popen[bytes]:
    """Start ``hardcase run`` in a session of its own."""
    call = [sys.executable, "-m", "engine.cli", "run", str(CONFIG), *SETTINGS, f"output={output}"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    quiet = subprocess.DEVNULL
    return subprocess.Popen(call, cwd=ROOT, env=env, stdout=quiet, stderr=quiet, start_new_session=True)


def seconds_of(output: Path) -> float:
    """Return the seconds of the command; its failure is an error here."""
    start = time.perf_counter()
    process = begin(output)
    if process.wait() != 0:
        raise RuntimeError(f"hardcase run ended with {process.returncode}")
    return time.perf_counter() - start


def kill_in_denoiser(output: Path) -> float:
    """Kill a run in the middle of its denoiser's training; return the seconds that it had lived."""
    start, process = time.perf_counter(), begin(output)
    while share_of_denoiser(output / "round") < KILLED_AT:
        if process.poll() is not None:
            raise RuntimeError("the run ended before it could be killed")
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    return time.perf_counter() - start


def share_of_denoiser(run: Path) -> float:
    """Return which share of its steps the denoiser has taken, as the run's progress file says."""
    now = run_progress.read_if_written(run)
    return now.done / now.total if now is not None and now.stage == "denoiser" and now.total else 0.0
