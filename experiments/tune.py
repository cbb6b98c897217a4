"""Measures a sweep that is killed half way and run again: its cost beside separate runs, its winner beside random mining.

usage: python -m experiments.tune CONFIG [--kill-after 14] [--seeds 1 2 3 4 5 6] [--output runs] [--name tune]

The sweep runs as a user would run it, `hardcase tune CONFIG`. It is killed (SIGKILL) once that many rounds are reported,
and run again. Compute is the seconds of the stages in each stages.jsonl. A separate run would compute every stage
that a trial used, so separate runs cost the sum over trials of all stages each of them recorded, run or found. Stopped
trials count only as far as they went, which favours the separate runs.

The winner was chosen on val with one loop seed. It is then played on fresh loop seeds beside the same config with
mining policy random: same split, same foundation, same round 0 of each seed, so differences are paired by seed. Their
interval covers the seeds, not the lesions of the one test part.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from engine import build
from engine.artifacts import run_stages, tune_json
from engine.artifacts.run_layout import JOURNAL
from engine.config import Config
from engine.store import RunFolder
from engine.study.comparison import paired_t
from engine.tuning.results import SHARED, StageCosts, trial_folder
from experiments.lib.keeping import provenance, read_result, save, script, this_command

FIGURES = ("nll", "balanced_accuracy", "malignant.sensitivity_at_specificity_90")
RANDOM = {"name": "random"}


def main() -> None:
    """Sweep, count, compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("--kill-after", type=int, default=14, help="rounds reported before the kill")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6])
    parser.add_argument("--output", default="runs")
    parser.add_argument("--name", default="tune")
    arguments = parser.parse_args()
    config = build.load(arguments.config, [f"output={arguments.output}", "tracking.kind=none"])
    folder = Path(config.output) / config.name
    sweep = killed_sweep(arguments.config, config, folder, arguments.kill_after)
    found = tune_json.read(folder).to_json()
    seeds = fresh_seeds(folder / tune_json.BEST, arguments.seeds)
    figures = {
        **provenance(this_command(), config),
        "sweep": {**sweep, **cost(folder, found)},
        "objective": found["objective"],
        "best": found["best"],
        "trials": found["trials"],
        "winner_against_random": seeds,
    }
    figures["seeds"] = {**figures["seeds"], "searcher": config.tune.seed, "fresh": arguments.seeds}
    path = save(arguments.name, figures)
    draw(figures, path / "tune.png")
    print(path)


def killed_sweep(path: Path, config: Config, folder: Path, kill_after: int) -> dict[str, Any]:
    """Run the sweep, killed once on the way unless it is further already; return what the journal says of it."""
    command = [
        sys.executable,
        "-m",
        "engine",
        "tune",
        str(path),
        f"output={config.output}",
        "tracking.kind=none",
    ]
    note = folder.with_name(f"{folder.name}-killed.json")
    if not note.exists():
        start = time.monotonic()
        driver = subprocess.Popen(command)
        while driver.poll() is None and _reported(folder) < kill_after:
            time.sleep(0.2)
        if driver.poll() is not None:
            raise SystemExit("the sweep ended before it could be killed; give a smaller --kill-after")
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        log = (folder / JOURNAL).read_text(encoding="utf-8")
        note.write_text(json.dumps({"seconds": time.monotonic() - start, "journal": log}), encoding="utf-8")
    start = time.monotonic()
    subprocess.run(command, check=True)
    killed = read_result(note)
    if "rerun_seconds" not in killed:
        killed["rerun_seconds"] = time.monotonic() - start
        note.write_text(json.dumps(killed), encoding="utf-8")
    whole = (folder / JOURNAL).read_text(encoding="utf-8")
    return {
        "killed_after_seconds": round(killed["seconds"], 1),
        "rerun_seconds": round(killed["rerun_seconds"], 1),
        "journal_lines_at_the_kill": killed["journal"].count("\n"),
        "journal_lines": whole.count("\n"),
        "journal_kept": whole.startswith(killed["journal"]),
    }


def _reported(folder: Path) -> int:
    path = folder / JOURNAL
    return path.read_text(encoding="utf-8").count('"report"') if path.exists() else 0


def cost(folder: Path, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the seconds of stages of the sweep and of separate runs, and how often a stage was run twice."""
    shared = StageCosts.read(trial_folder(folder, SHARED))
    trials = [StageCosts.read(trial_folder(folder, trial["trial"])) for trial in found["trials"]]
    ran = [name for costs in (shared, *trials) for name in costs.run]
    computed = sum(sum(costs.run.values()) for costs in (shared, *trials))
    separate = sum(sum({**costs.found, **costs.run}.values()) for costs in trials)
    return {
        "stages_run": len(ran),
        "stages_run_twice": len(ran) - len(set(ran)) + _run_twice(folder),
        "seconds_shared": round(sum(shared.run.values()), 1),
        "seconds_sweep": round(computed, 1),
        "seconds_separate_runs": round(separate, 1),
        "ratio": round(computed / separate, 4),
    }


def _run_twice(folder: Path) -> int:
    """Stages that one run folder ran in both sittings."""
    twice = 0
    for trial in folder.glob("trials/*"):
        ran = [line.key for line in run_stages.read_log(trial) if line.ran]
        twice += len(ran) - len(set(ran))
    return twice


def fresh_seeds(best: Path, seeds: list[int]) -> dict[str, Any]:
    """Play the winner and random mining on each seed; return the figures and their paired differences."""
    base = build.load(best)
    output = f"output={base.output}"
    played: dict[str, list[dict[str, Any]]] = {"winner": [], "random": []}
    for seed in seeds:
        for policy, changes in (("winner", []), ("random", [f"policy.mining={json.dumps(RANDOM)}"])):
            name = f"name={base.name}_{policy}_{seed}"
            played[policy].append(_play(build.load(best, [output, name, f"loop.seed={seed}", *changes])))
            print(policy, seed, {f: played[policy][-1]["test"][f] for f in FIGURES}, flush=True)
    differences = {
        part: {figure: _difference(played, part, figure) for figure in FIGURES} for part in ("val", "test")
    }
    return {
        "seeds": seeds,
        "mining": base.policy.mining,
        "played": played,
        "winner_minus_random": differences,
    }


def _play(config: Config) -> dict[str, Any]:
    """Play one run of arm hard without a page; return the last round's figures of val and test."""
    wiring = build.wire(config, track=False, folder=RunFolder.create(config))
    report = wiring.loop(page=False).play()
    wiring.close()
    last = max((entry for entry in report["rounds"] if entry["arm"] == "hard"), key=lambda r: r["round"])
    return {"round": last["round"], "n_accepted": last["n_accepted"],
            **{part: {figure: _figure(last[part], figure) for figure in FIGURES} for part in ("val", "test")}}  # fmt: skip


def _figure(figures: Mapping[str, Any], name: str) -> float:
    node: Any = figures
    for part in name.split("."):
        node = node[part]
    return float(node["value"])


def _difference(played: Mapping[str, list[dict[str, Any]]], part: str, figure: str) -> dict[str, Any]:
    """Winner minus random, seed by seed: mean with the paired t interval over seeds."""
    values = np.array(
        [a[part][figure] - b[part][figure] for a, b in zip(played["winner"], played["random"], strict=True)]
    )
    found = paired_t(values)
    return {"value": found.value, "low": found.low, "high": found.high, "by_seed": values.tolist()}


def draw(figures: Mapping[str, Any], path: Path) -> None:
    """Draw the trials' val by round, the compute, and the fresh seeds."""
    figure, axes = plt.subplots(1, 3, figsize=(14, 4))
    for trial in figures["trials"]:
        values = {int(number): value for number, value in trial["values"].items()}
        best = trial["trial"] == figures["best"]["trial"]
        colour = "#b4500f" if best else "#0b5cad" if trial["status"] == "finished" else "#999999"
        axes[0].plot(list(values), list(values.values()), "o-", color=colour, alpha=1.0 if best else 0.6)
    axes[0].set(xlabel="round", ylabel=f"val {figures['objective']['metric']}", xticks=[0, 1, 2],
                title="trials: best orange, stopped grey")  # fmt: skip
    sweep = figures["sweep"]
    minutes = [sweep["seconds_sweep"] / 60, sweep["seconds_separate_runs"] / 60]
    axes[1].bar(["sweep", f"{len(figures['trials'])} separate runs"], minutes, color=["#0b5cad", "#999999"])
    axes[1].set(ylabel="minutes of stages", title=f"compute, ratio {sweep['ratio']:.2f}")
    rows = figures["winner_against_random"]["winner_minus_random"]
    for position, (part, name) in enumerate((p, f) for f in FIGURES for p in ("val", "test")):
        found = rows[part][name]
        axes[2].plot(found["by_seed"], np.full(len(found["by_seed"]), position), ".", color="#999999")
        axes[2].errorbar(found["value"], position, xerr=[[found["value"] - found["low"]], [found["high"] - found["value"]]],
                         fmt="o", color="#0b5cad" if part == "test" else "#7aa7d6", capsize=3)  # fmt: skip
    axes[2].axvline(0, color="#888", linestyle=":")
    axes[2].set_yticks(range(6), [f"{part} {name.rpartition('.')[2]}" for name in FIGURES for part in ("val", "test")],
                       fontsize=7)  # fmt: skip
    axes[2].set(xlabel="winner minus random", title="fresh loop seeds, paired")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    script(main)
