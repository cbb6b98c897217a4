"""What to type after a run: what it waits for, the study that a claim needs, or the classifier's use."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from engine.artifacts.run_layout import RunLayout
from engine.checked_config import load
from engine.config import SplitConfig
from engine.errors import ConfigError
from engine.study.comparison import FEWEST_REPLICATES
from engine.study.study_names import study_name
from engine.types.stopping import Action


@dataclass(frozen=True, kw_only=True)
class NextStep:
    """A command line, and what it is for."""

    command: str
    purpose: str


def next_step(layout: RunLayout, action: str, run: str) -> NextStep | None:
    """Return the step after the run of ``layout``, which ended with ``action``; the command names its folder ``run``.

    None for one of several runs of a study: the study has a page of its own.

    Raises:
        ConfigError: config.yaml of the run is missing or is not one of this version.
    """
    if action == Action.FAILED:
        command = shlex.join(["hardcase", "run", f"{run}/{layout.config.name}"])
        return NextStep(command=command, purpose="the rest of the run; what is done is kept")
    if action == Action.REVIEW:
        return NextStep(
            command=shlex.join(["hardcase", "review", run]),
            purpose="answers and verdicts, for which the run waits",
        )
    config = load(layout.config)
    split = config.data.split
    if config.name.endswith(tuple(_endings(split))):
        return None
    keys: list[str] = []
    if split.train_sets is not None:
        options = ["--sets", f"0-{min(FEWEST_REPLICATES, split.train_sets.count) - 1}"]
    elif split.folds is not None:
        options = ["--folds", f"0-{split.folds.count - 1}"]
    else:
        options = ["--folds", f"0-{FEWEST_REPLICATES - 1}"]
        keys = [f"data.split.folds={{count: {FEWEST_REPLICATES}}}"]
    try:
        load(layout.config, keys)
    except ConfigError:  # an official split is not dealt anew
        command = shlex.join(["hardcase", "predict", run, "PHOTOGRAPHS", "--csv", "predictions.csv"])
        return NextStep(command=command, purpose="the classifier's use")
    command = shlex.join(["hardcase", "run", f"{run}/{layout.config.name}", *options, *keys])
    return NextStep(command=command, purpose="the study that a claim needs")


def _endings(split: SplitConfig) -> list[str]:
    """Return how the names of a study's runs end that use this fold or one of these training sets."""
    endings = [] if split.folds is None else [study_name("", split.folds.use, None)]
    return endings + [
        study_name("", None, n) for n in (split.train_sets.use if split.train_sets is not None else [])
    ]
