"""Folds of a cross-validation: one is played and kept, image by image, and those that are kept are read again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from engine import build
from engine.artifacts.run_files import read_run
from engine.config import Config
from engine.execution.progress import RichListener
from engine.study.replicates import Replicate
from engine.study.run_replicates import is_whole, open_replicate
from experiments.lib.keeping import provenance, this_command
from experiments.lib.outcomes import beside, pack_cases, scored_arm, unpack
from experiments.lib.parted import write_parted

FOLDS: Final = 5
"""Outer folds of the protocols."""


def missing(scored: int) -> str:
    """Return what forbids a claim while folds are missing; "" for nothing."""
    return "" if scored == FOLDS else f"{scored} of {FOLDS} folds are scored"


def score(config: Config, title: str, path: Path, facts: Mapping[str, Any]) -> Path:
    """Play a fold and keep every arm's predictions of the last round for its val and test lesions.

    Args:
        config: what all folds have in common, and which it is; killed, the same call goes on.
        title: what the replicate is called, and with dashes the end of its run's name.
        path: the file that is written; where arms are many, others beside it.
        facts: which replicate it is, kept beside its figures.
    """
    config = config.model_copy(update={"name": f"{config.name}-{title.replace(' ', '-')}"})
    place, report = build.run(config, listener=RichListener(Console()))
    replicate = open_replicate(read_run(place.path), title)
    start = next(entry for entry in report["rounds"] if entry["round"] == 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_parted(
        path,
        {
            **provenance(this_command(), config),
            **facts,
            "split_digest": report["split_digest"],
            "round_0": beside(start, "test"),
            "cases": pack_cases(replicate),
            "arms": {
                arm: {**last_round(report, arm), **scored_arm(replicate, arm)} for arm in replicate.arms
            },
        },
    )
    return path


def last_round(report: Mapping[str, Any], arm: str) -> dict[str, Any]:
    """Return what report.json says of an arm's last round."""
    return beside([entry for entry in report["rounds"] if entry["arm"] == arm][-1], "test")


def replicates(files: Iterable[Mapping[str, Any]]) -> list[Replicate]:
    """Return each file's replicate: every arm's predictions for its val and test parts."""
    found = []
    for file in files:
        run = unpack(file["cases"], {arm: entry["outcome"] for arm, entry in file["arms"].items()})
        whole = run.whole and is_whole(run.parts, file["config"])  # files of before do not say so themselves
        found.append(replace(run, whole=whole))
    return found
