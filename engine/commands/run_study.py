"""`hardcase run --folds 0-4 --sets 0-2`: every run of a study in turn, then the study of all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from rich.console import Console

from engine.checked_config import load
from engine.commands import run_command
from engine.errors import ConfigError

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

    Raises:
        ConfigError: the config has no folds or sets of these numbers; nothing has begun then.
        HardcaseError: a run could not finish; the same command goes on with it.
    """
    runs = plan(path, overrides, folds=folds, sets=sets)
    if dry_run:
        run_command.run(path, runs[0], console, dry_run=True)
        console.print(f"this is the first of {len(runs)} runs; what they share is computed once")
        return
    finished = []
    for number, keys in enumerate(runs, start=1):
        config = load(path, keys)
        console.print(f"run {number} of {len(runs)}: {config.name}", style="bold")
        run_command.run(path, keys, console, fresh=fresh, in_study=True)
        finished.append(Path(config.output) / config.name)
    if len(finished) > 1:
        from engine.commands import report_command

        base = load(path, overrides)
        report_command.report(finished, console, out=Path(base.output) / f"{base.name}-study")


def plan(path: Path, overrides: Sequence[str], *, folds: str | None, sets: str | None) -> list[list[str]]:
    """Return the overrides of every run, all checked before the first begins; arguments as for ``run_study``."""
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
    runs = [[*overrides, *_keys(base.name, fold, number)] for fold, number in product(*ranges)]
    for keys in runs:
        load(path, keys)
    return runs


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
    marks = [f"{what}-{n}" for what, n in (("fold", fold), ("set", number)) if n is not None]
    return [*keys, f"name={'-'.join([name, *marks])}"]
