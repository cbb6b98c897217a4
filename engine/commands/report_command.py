"""`hardcase report`: the page of one run again, or of several runs one study: page and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from engine import build
from engine.artifacts.report_json import LEAKY
from engine.commands.finished_run import read_report
from engine.commands.output_folder import writable_file
from engine.commands.stored_runs import all_here, written_back
from engine.errors import ConfigError, DataError
from engine.store.run_folder import flat_config
from engine.study.answer import Answer

if TYPE_CHECKING:
    from engine.artifacts.run_files import RunFiles
    from engine.study.replicates import Replicate

MAY_DIFFER = ("seed", "loop.seed", "data.split.train_sets.use", "data.split.folds.use")
"""Keys in which the runs of one study may differ: seed, training set, fold."""


def report(runs: Sequence[Path], console: Console, *, out: Path | None = None) -> Path:
    """Write RUN/report.html of one run, or ``out``/study.html and study.json of several; return the page.

    Raises:
        DataError: no run folder, an unfinished one, or runs that make no study.
        ConfigError: several runs without ``out``, one with it, or configs that differ in more than seed, training set, fold.
    """
    if len(runs) == 1:
        if out is not None:
            raise ConfigError(
                "--out: one run's page is written into its own folder; leave it out, or give several runs"
            )
        with written_back(runs[0]) as run:
            return _one(run, console)
    if out is None:
        raise ConfigError("--out: name a folder for the study page and JSON of several runs")
    return _study(all_here(runs), out, console)


def say(answer: Answer, protocol: str, console: Console, *, simulated: bool = False) -> None:
    """Print the sentence, LEAKY before it where the protocol is, and its reason; SIMULATED LABELS above where they are."""
    from engine.report.wording import SIMULATED_TITLE

    if simulated:
        console.print(f"labels   {SIMULATED_TITLE}", style="red", highlight=False)
    colour = {"helped": "green", "hurt": "red"}.get(answer.verdict, "yellow")
    mark = [("LEAKY: ", "red")] if protocol in LEAKY else []
    console.print(Text.assemble(("answer", colour), "   ", *mark, answer.sentence))
    console.print(f"why      {answer.reason}", highlight=False)


def _one(run: Path, console: Console) -> Path:
    from engine.labelling.simulated import in_run
    from engine.report.blocks.evidence import run_answer
    from engine.report.run_page import write_report

    found = read_report(run)
    path = write_report(run)
    say(run_answer(run), found.protocol, console, simulated=in_run(run, found))
    console.print(f"report   {path}")
    return path


def _study(runs: Sequence[Path], out: Path, console: Console) -> Path:
    from engine.artifacts.study_json import PAGE, StudyRecord
    from engine.labelling.simulated import in_run
    from engine.report.study_page import write_study
    from engine.study.contrasts import make_study

    writable_file(out / PAGE, "--out")
    files, replicates, draws = open_study(runs)
    study = make_study(replicates, draws=draws)
    write_study(study, files, out, out.resolve().name)
    simulated = any(in_run(run.path, run.report) for run in files)
    say(study.answer, study.runs[0].protocol, console, simulated=simulated)
    console.print(f"study    {out / PAGE}")
    console.print(f"json     {StudyRecord.path(out)}")
    return out / PAGE


def open_study(runs: Sequence[Path]) -> tuple[list[RunFiles], list[Replicate], int]:
    """Return the files and replicates of finished runs of one study, and how many bootstrap draws they ask for.

    Raises:
        DataError: no run folder, an unfinished one, or one that is given twice.
        ConfigError: configs that differ in more than seed, training set, fold.
    """
    from engine.artifacts.run_files import read_run
    from engine.report.blocks.evidence import draws_of
    from engine.study.run_replicates import open_replicate, require_finished

    _check_configs(runs)
    files = []
    for path in runs:
        read_report(path)
        files.append(read_run(path))
        require_finished(files[-1])
    replicates = [open_replicate(run, name) for run, name in zip(files, names_of(runs), strict=True)]
    return files, replicates, draws_of(files[0])


def names_of(runs: Sequence[Path]) -> list[str]:
    """Return the runs' folder names, with the folder above where two are alike."""
    names = [path.resolve().name for path in runs]
    return [
        name if names.count(name) == 1 else f"{path.resolve().parent.name}/{name}"
        for path, name in zip(runs, names, strict=True)
    ]


def _check_configs(runs: Sequence[Path]) -> None:
    """Refuse runs whose configs differ in anything a replicate may not differ in."""
    given = set()
    for path in runs:
        if path.resolve() in given:
            raise DataError(f"{path}: is given twice; give each run once")
        given.add(path.resolve())
    first = flat_config(build.open_run(runs[0]).config)
    for path in runs[1:]:
        other = flat_config(build.open_run(path).config)
        keys = sorted(
            k for k in first.keys() | other.keys() if first.get(k) != other.get(k) and k not in MAY_DIFFER
        )
        if keys:
            shown = ", ".join(f"{k} ({first.get(k)!r} and {other.get(k)!r})" for k in keys[:3])
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise ConfigError(
                f"{runs[0]} and {path} are not of one study: they differ in {shown}{more}; replicates differ in seed, "
                "training set or fold alone"
            )  # fmt: skip
