"""`hardcase run --folds 0-4 --sets 0-2`: every run of a study in turn, then the study of all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from rich.console import Console

from engine.checked_config import load
from engine.commands import run_command
from engine.commands.labelling_text import counted
from engine.config import Config
from engine.errors import ConfigError
from engine.labelling.answers import Answers
from engine.study.study_names import study_name

FOLD, SET = "data.split.folds", "data.split.train_sets"


def run_study(
    path: Path,
    overrides: Sequence[str],
    console: Console,
    *,
    folds: str | None = None,
    sets: str | None = None,
    fresh: bool = False,
    dry_run: bool = False,
    profile: bool = False,
) -> None:
    """Run (or resume) a config on each fold and training set, as ``<name>-fold-0-set-0``, then write the study page of all.

    Stages that runs share are computed once.

    Args:
        path: the config.
        overrides: further keys.
        console: where to print.
        folds: such as ``0-4`` or ``0,2``; None: the config's own.
        sets: training sets, likewise.
        fresh: compute every stage anew.
        dry_run: plan the first run only.
        profile: leave tables and traces of every stage that is computed.

    Raises:
        ConfigError: the config has no folds or sets of these numbers; nothing has begun then.
        HardcaseError: a run could not finish; the same command goes on with it.
    """
    base, runs = plan(path, overrides, folds=folds, sets=sets)
    output = Path(base.output)
    if dry_run:
        run_command.run(path, next(iter(runs.values())), console, dry_run=True)
        console.print(f"this is the first of {len(runs)} runs; what they share is computed once")
        return
    say_left_answers(output / base.name, console)
    for number, (name, keys) in enumerate(runs.items(), start=1):
        console.print(f"run {number} of {len(runs)}: {name}", style="bold")
        run_command.run(path, keys, console, fresh=fresh, in_study=True, profile=profile)
    if len(runs) > 1:
        from engine.commands import report_command

        report_command.report([output / name for name in runs], console, out=output / f"{base.name}-study")


def say_left_answers(run: Path, console: Console) -> None:
    """Say that answers to the questions of one run train nothing in the runs of a study, which have folders of their own."""
    if answered := len(Answers(run=run).of_no_round()):
        console.print(
            f"answers  the runs of a study do not train on the {counted(answered, 'image')} that readers labelled in {run}; "
            "give the data these diagnoses to use them",
            style="yellow",
            soft_wrap=True,
        )


def plan(
    path: Path, overrides: Sequence[str], *, folds: str | None, sets: str | None
) -> tuple[Config, dict[str, list[str]]]:
    """Return the config without folds and sets, and the overrides of every run by its name; arguments as for ``run_study``.

    All of them are checked, before the first begins.
    """
    base = load(path, overrides)
    split = base.data.split
    if folds is not None and split.folds is None:
        raise ConfigError(f"--folds: {FOLD} is not set; add {FOLD}={{count: 5}}")
    if sets is not None and split.train_sets is None:
        raise ConfigError(f"--sets: {SET} is not set; add {SET}={{count: 10, images: 500}}")
    ranges = (
        [None] if folds is None else numbers(folds, "--folds"),
        [None] if sets is None else numbers(sets, "--sets"),
    )
    runs = {}
    for fold, number in product(*ranges):
        keys = [*overrides, *_keys(base.name, fold, number)]
        runs[load(path, keys).name] = keys
    return base, runs


def numbers(text: str, option: str) -> list[int]:
    """Read ``0-4`` or ``0,2,5-7``.

    Raises:
        ConfigError: it is neither, or names a number twice.
    """
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,4})(?:-(\d{1,4}))?\s*", part)
        if match is not None:
            first, last = int(match[1]), int(match[2] or match[1])
            found += range(first, last + 1)
        if match is None or last < first or len(set(found)) < len(found):
            raise ConfigError(f"{option}: {text!r} is no list of numbers, each once; write 0-4 or 0,2,5-7")
    return found


def _keys(name: str, fold: int | None, number: int | None) -> list[str]:
    keys = [] if fold is None else [f"{FOLD}.use={fold}"]
    keys += [] if number is None else [f"{SET}.use=[{number}]"]
    return [*keys, f"name={study_name(name, fold, number)}"]
