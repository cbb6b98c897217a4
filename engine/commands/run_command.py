"""`hardcase run`: the whole loop, or with --dry-run what it would take."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.console import Console

from engine.arms import ENGINE
from engine.artifacts import accept
from engine.artifacts.accept import AcceptFacts
from engine.artifacts.run_layout import RunLayout
from engine.checked_config import load
from engine.commands.labelling_text import counted
from engine.commands.output_folder import say_output_inside_data
from engine.config import Config
from engine.config.places import is_url
from engine.execution.progress import RichListener
from engine.store import RunFolder

DEMO = Path(str(files("engine"))) / "configs" / "demo.yaml"
"""The config of `hardcase demo`; it comes with the package."""


def run(
    path: Path,
    overrides: Sequence[str],
    console: Console,
    *,
    fresh: bool = False,
    dry_run: bool = False,
    in_study: bool = False,
    profile: bool = False,
) -> None:
    """Run (or resume) the loop of a config file and say where everything is; ``in_study``: others of its study follow.

    Raises:
        ConfigError, DataError: bad input, nothing computed is lost.
        StageError: a stage could not finish; rerun to resume.
    """
    config = load(path, overrides)  # before torch is imported: a wrong key is named at once
    from engine import build

    if dry_run:
        from engine.commands.dry_run import dry_run as plan

        plan(config, console)
        return
    say_output_inside_data(config, console)
    say_answers(config, console)
    start = time.monotonic()
    folder, report = build.run(config, listener=RichListener(console), fresh=fresh, profile=profile)
    console.print(f"{time.monotonic() - start:.0f} s in all", style="dim")
    if profile:
        say_profile(folder.layout.profile, console)
    show(folder, report, config, console, in_study=in_study)


def say_answers(config: Config, console: Console) -> None:
    """Say how many images train because readers labelled them after `hardcase query`, and what new answers cost."""
    from engine.labelling.answers import Answers

    if is_url(config.output):
        return
    answered = len(Answers(run=Path(config.output) / config.name).of_no_round())
    if answered:
        are = "is a train image" if answered == 1 else "are train images"
        console.print(
            f"answers  {counted(answered, 'image')} that readers labelled {are}; after new ones all that learns from train "
            "is computed anew, and its figures replace those of this run",
            soft_wrap=True,
        )


def show(
    folder: RunFolder, report: Mapping[str, Any], config: Config, console: Console, *, in_study: bool = False
) -> None:
    """Print rounds x figures and the judge's agreement; last what one reads first: answer, page, next command."""
    from engine.artifacts import report_json
    from engine.commands.report_command import say
    from engine.labelling.simulated import in_run
    from engine.report.blocks.evidence import run_answer
    from engine.report.summary import summary_table
    from engine.report.wording import one_run
    from engine.study.next_step import next_step

    simulated = in_run(folder.path, report_json.read(folder.path))
    console.print(summary_table(report, simulated=simulated))
    for line in synthesis_lines(folder, report):
        console.print(line)
    for line in ending_lines(report):
        console.print(line, style="yellow")
    if is_url(config.output):
        console.print(f"stored   {config.output.rstrip('/')}/{config.name}", soft_wrap=True)
    if config.tracking.kind == "mlflow" and config.tracking.uri is None and not is_url(config.output):
        console.print(mlflow_line(config, folder.path), soft_wrap=True)
    rests_on = one_run(report["rounds"][-1]) if report["rounds"] else "One run"
    console.print(
        f"research software, not a medical device; {rests_on[0].lower()}{rests_on[1:]} proves no gain",
        style="dim",
    )
    say(run_answer(folder.path), report["protocol"], console, simulated=simulated)
    console.print(f"report   {folder.layout.page}")
    if not in_study:
        step = next_step(folder.layout, report["stopping"]["action"], str(folder.path))
        if step is not None:
            console.print(f"next     {step.command}   ({step.purpose})", soft_wrap=True, highlight=False)
        for line in query_lines(folder.path, report, config):
            console.print(line, soft_wrap=True, highlight=False)


def query_lines(run: Path, report: Mapping[str, Any], config: Config) -> list[str]:
    """Say how to ask readers about images without a diagnosis, where there are some and the run waits for nobody."""
    images = report["data"].get("unlabelled", 0)
    if not images or config.loop.labels_from != "readers" or report["stopping"]["action"] != "stop":
        return []
    queries = RunLayout(run).queries
    earlier = len(list(queries.iterdir())) if queries.is_dir() else 0
    out = f"ask_{earlier + 1}" if earlier else "ask"
    command = shlex.join(["hardcase", "query", str(run), "--count", "50", "--out", out])
    return [
        f"or       {command}   (chooses which of {counted(images, 'image')} without a diagnosis to ask about)"
    ]


def say_profile(folder: Path, console: Console) -> None:
    """Say where the tables and traces are, or why there are none."""
    from engine.execution.profiling import collect

    found = collect(folder)
    if found is None:
        console.print(
            "profile  nothing was computed: every stage was in the cache; --fresh computes them anew"
        )
    else:
        console.print(f"profile  {found}", soft_wrap=True)


def ending_lines(report: Mapping[str, Any]) -> list[str]:
    """Say what a person has to do, or why a later round is not champion: its policy rolled back."""
    stopping, champion = report["stopping"], report["champion"]
    if stopping["action"] == "review":
        return [f"review  {stopping['reason']}"]
    if stopping["action"] != "roll_back":
        return []
    crowned = f"round {champion['round']} {champion['arm']}" if champion else "none"
    return [
        f"rolled back: {stopping['reason']}; champion of the rounds up to {stopping['keep_round']}: {crowned}"
    ]


def synthesis_lines(folder: RunFolder, report: Mapping[str, Any]) -> list[str]:
    """One line per round: how often the judge sees the intended class in ungated samples, against unseen real lesions."""
    lines = []
    for entry in report["rounds"]:
        home = folder.layout.round_folder(entry["round"])
        if entry["arm"] == ENGINE and AcceptFacts.present(home):
            facts = accept.read(home)
            if facts.agreement_ratio is None:
                continue
            lines.append(
                f"round {entry['round']}: the judge agrees with the intended class of {facts.agreement:.0%} of ungated "
                f"samples; of unseen real lesions of these classes it gets {facts.expected_agreement:.0%} right "
                f"(ratio {facts.agreement_ratio:.2f})"
            )
    return lines


def mlflow_line(config: Config, run_folder: Path | None = None) -> str:
    """Say where MLflow shows a run's arms by round, or all runs and sweeps where no folder is given."""
    from engine.tracking.saved_view import page

    address = f"http://127.0.0.1:5000{page(run_folder)}"
    store = shlex.quote(f"sqlite:///{mlflow_database(config)}")
    return f"mlflow   mlflow ui --backend-store-uri {store}; then {address}"


def mlflow_database(config: Config) -> Path:
    """Where the default SQLite store lies: beside ``output``."""
    return Path(config.output).resolve().parent / "mlflow.db"
