"""`hardcase tune`: the sweep of a config's search space, a line per round, a table at the end."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from engine.artifacts import tune_json
from engine.artifacts.run_layout import RunLayout
from engine.checked_config import load
from engine.commands.output_folder import say_output_inside_data
from engine.commands.run_command import mlflow_line
from engine.execution.progress import RichListener
from engine.tuning.decisions import FAILED, TrialRecord
from engine.tuning.space import setting_text


def tune(path: Path, overrides: Sequence[str], console: Console, *, fresh: bool = False) -> None:
    """Run (or resume) the sweep of a config file and say what it found.

    Raises:
        ConfigError, DataError: bad input.
        StageError: a trial was lost, or none finished.
    """
    config = load(path, overrides)  # before torch is imported: a wrong key is named at once
    from engine.tuning import sweep

    say_output_inside_data(config, console)
    start = time.monotonic()

    def say(trial: TrialRecord, round_number: int | None) -> None:
        console.print(trial_line(trial, round_number), markup=False, highlight=False, soft_wrap=True)

    folder, found = sweep.tune(config, listener=RichListener(console), heard=say, fresh=fresh)
    console.print(trial_table(found))
    shared, trials = found["seconds"]["shared"]["run"], found["seconds"]["trials_run"]
    console.print(f"seconds  {shared:.0f} for what the trials share, {trials:.0f} in the trials")
    console.print(
        f"best     trial {found['best']['trial']}, chosen on val: hardcase run {shlex.quote(str(RunLayout(folder).best))}"
    )
    console.print(f"trials   {tune_json.SCHEMA.path(folder)}")
    if config.tracking.kind == "mlflow" and config.tracking.uri is None:
        console.print(mlflow_line(config), soft_wrap=True)
    console.print(
        "the best of many looks better on val than it is; compare it on fresh loop.seed values", style="dim"
    )
    console.print(f"{time.monotonic() - start:.0f} s in all", style="dim")


def trial_line(trial: TrialRecord, round_number: int | None) -> str:
    """Return one line on a report (its round) or an end (None) of a trial."""
    if round_number is not None:
        more = f"  {', '.join(map(setting_text, trial.settings.items()))}" if round_number == 0 else ""
        return f"trial {trial.number}  round {round_number}  {trial.values[round_number]:.4f}{more}"
    because = f": {trial.reason}" if trial.status == FAILED else ""
    return f"trial {trial.number}  {trial.status}{because}"


def trial_table(found: Mapping[str, Any]) -> Table:
    """Return trials x (settings, value a round, how it ended, seconds run), best first; tune.json's object goes in."""
    objective = found["objective"]
    sign = -1.0 if objective["mode"] == "max" else 1.0
    table = Table(
        title=f"val {objective['metric']} ({objective['mode']}) by round of {len(found['trials'])} trials"
    )
    rounds = sorted({int(number) for trial in found["trials"] for number in trial["values"]})
    table.add_column("trial", justify="right")
    table.add_column("settings", overflow="fold")
    for number in rounds:
        table.add_column(str(number), justify="right")
    table.add_column("end")
    table.add_column("s run", justify="right")

    def order(trial: Mapping[str, Any]) -> tuple[bool, float]:
        return trial["status"] != "finished", sign * (trial["value"] or 0.0)

    for trial in sorted(found["trials"], key=order):
        values = [trial["values"].get(str(number)) for number in rounds]
        table.add_row(
            str(trial["trial"]),
            "\n".join(map(setting_text, trial["settings"].items())),
            *("" if value is None else f"{value:.4f}" for value in values),
            trial["status"],
            f"{trial['seconds']['run']:.0f}",
        )
    return table
