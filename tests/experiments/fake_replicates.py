"""Replicates of an invented study, and the cells that Table I would keep of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.artifacts.run_files import read_run
from engine.study.replicates import Replicate
from engine.study.run_replicates import open_replicate
from experiments.lib.outcomes import scored_arm
from tests.engine.study.fake_study import write_study

ARMS = ("real", "random", "hard")


def opened(root: Path, **what: Any) -> list[Replicate]:
    """Write the runs of a study, 400 lesions and 6 replicates unless ``what`` differs; return its replicates."""
    paths = write_study(root, **{"arms": ARMS, "lesions": 400, "replicates": 6, **what})
    return [open_replicate(read_run(path)) for path in paths]


def cell(run: Replicate, arm: str, synthetic: int) -> dict[str, Any]:
    """A cell of a set's file: an arm of 500 real images and so many synthetic ones."""
    return {
        "n_real": 500,
        "n_synthetic": synthetic,
        **scored_arm(run, arm),
    }
