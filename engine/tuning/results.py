"""What a sweep leaves: tune.json, trials.parquet and best.yaml, from the journal and the trials' own run folders."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from engine.artifacts import report_json, run_stages, tune_json
from engine.artifacts.run_layout import RunLayout
from engine.artifacts.tune_json import SCHEMA_VERSION
from engine.artifacts.whole_files import write_text
from engine.config import Config, dump_yaml
from engine.tracking.flatten import metrics
from engine.tuning.decisions import Sweep, TrialRecord
from engine.tuning.objective import Objective
from engine.tuning.space import setting_text

SHARED = 0
"""The number under which foundation and round 0 lie beside the trials."""


@dataclass(frozen=True, kw_only=True)
class StageCosts:
    """Seconds of the stages of one run folder: those it ran, those it found in the cache."""

    run: Mapping[str, float]
    found: Mapping[str, float]

    @classmethod
    def read(cls, folder: Path) -> StageCosts:
        """Read stages.jsonl: a stage counts once, and as run where any process of this run ran it."""
        run: dict[str, float] = {}
        seen: dict[str, float] = {}
        for line in run_stages.read_log(folder):
            name = f"{line.stage}-{line.key}"
            seen[name] = line.seconds
            if line.ran:
                run[name] = line.seconds
        return cls(run=run, found={name: s for name, s in seen.items() if name not in run})

    def seconds(self) -> dict[str, float]:
        """Return {run, found} in seconds."""
        return {"run": round(sum(self.run.values()), 3), "found": round(sum(self.found.values()), 3)}


def trial_folder(sweep: Path, number: int) -> Path:
    """Return a trial's run folder; number 0 is what all trials share."""
    return RunLayout(sweep).trial(number).path


def trial_object(trial: TrialRecord, sweep: Path) -> dict[str, Any]:
    """Return a trial's object of tune.json: settings, status, figures of val by round, seconds run and found."""
    folder = trial_folder(sweep, trial.number)
    costs = StageCosts.read(folder)
    return {
        "trial": trial.number,
        "settings": dict(trial.settings),
        "status": trial.status,
        "reason": trial.reason,
        "value": trial.last,
        "values": {str(number): value for number, value in sorted(trial.values.items())},
        "val": _val_figures(folder, trial),
        "seconds": costs.seconds(),
        "stages": {"run": len(costs.run), "found": len(costs.found)},
    }


def tune_object(config: Config, objective: Objective, sweep: Sweep, folder: Path) -> dict[str, Any]:
    """Return tune.json's object. The best trial is the one that val puts first among those that finished."""
    best = sweep.best()
    trials = [trial_object(trial, folder) for trial in sweep.trials.values()]
    shared = StageCosts.read(trial_folder(folder, SHARED))
    return {
        "schema_version": SCHEMA_VERSION,
        "name": config.name,
        "objective": {"part": "val", "metric": objective.metric, "mode": objective.mode},
        "tune": config.tune.model_dump(mode="json"),
        "search_space": dict(config.search_space),
        "best": None if best is None else {"trial": best.number, "value": best.last, "settings": dict(best.settings)},
        "seconds": {
            "shared": shared.seconds(),
            "trials_run": round(sum(trial["seconds"]["run"] for trial in trials), 3),
        },
        "trials": trials,
    }  # fmt: skip


def write_results(found: Mapping[str, Any], folder: Path) -> None:
    """Write tune.json and trials.parquet (one row per trial and round)."""
    tune_json.write(found, pd.DataFrame(_rows(found["trials"])), folder)


def write_best(best: Config, found: Mapping[str, Any], path: Path) -> None:
    """Write the best settings as a config that `hardcase run` takes; its header says where it comes from."""
    winner, objective = found["best"], found["objective"]
    ended = [trial for trial in found["trials"] if trial["status"] != "running"]
    lines = [
        f"The best of {len(ended)} settings tried by `hardcase tune` in the sweep {found['name']}: trial {winner['trial']}.",
        f"Val chose it ({objective['metric']} {winner['value']:.4f} after its last round); no test figure was looked at.",
        "The best of many looks better on val than it is: try it against other policies on fresh loop.seed values.",
        *(f"  {setting_text(item)}" for item in winner["settings"].items()),
        f"  command:  hardcase run {path.name}",
    ]
    write_text(path, "".join(f"# {line}\n" for line in lines) + dump_yaml(best))


def _val_figures(run: Path, trial: TrialRecord) -> dict[str, dict[str, float]]:
    """The figures of val by round of the arm that counts, for the rounds the trial reported; nothing of test."""
    report, layout = report_json.read_if_written(run), RunLayout(run)
    return {
        str(entry.round): metrics({"val": entry.val})
        for entry in (report.rounds if report is not None else ())
        if entry.arm == layout.main_arm(entry.round) and entry.round in trial.values
    }


def _rows(trials: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for trial in trials:
        about = {"trial": trial["trial"], "status": trial["status"],
                 **{key: json.dumps(value) for key, value in trial["settings"].items()}}  # fmt: skip
        seconds = {f"seconds_{how}": value for how, value in trial["seconds"].items()}
        rows += [
            {**about, "round": int(number), "value": value, **trial["val"].get(number, {}), **seconds}
            for number, value in trial["values"].items()
        ] or [{**about, "round": None, "value": None, **seconds}]
    return rows
