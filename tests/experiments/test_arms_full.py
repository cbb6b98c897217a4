"""The folds of a cross-validation are collected into one study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ConfigError
from engine.store.files import write_json
from engine.study.replicates import Replicate
from experiments.arms_full import collect
from experiments.lib.outcomes import pack_cases, scored_arm
from tests.experiments.fake_replicates import opened


def write_fold(folder: Path, run: Replicate, fold: int, seed: int = 0, **changed: Any) -> None:
    arms = {arm: scored_arm(run, arm) for arm in run.arms}
    config = {"data": {"split": {"folds": {"count": 5, "use": fold}}}, "loop": {"seed": seed}, **changed}
    cases = {**pack_cases(run), "seed": seed}
    write_json(
        folder / f"fold_{fold}_seed_{seed}.json",
        {"fold": fold, "split_digest": "d", "config": config, "cases": cases, "arms": arms},
    )


@pytest.mark.slow
def test_folds_are_collected(tmp_path: Path) -> None:
    runs = opened(tmp_path / "runs", folds=True, replicates=5, gain={"hard": -0.6})
    folder = tmp_path / "arms_full"
    folder.mkdir()
    for fold, run in enumerate(runs):
        write_fold(folder, run, fold)
    write_fold(folder, runs[0], 0, seed=1)  # a second seed that the other folds do not have yet
    collect(folder, draws=400)
    found = json.loads((folder / "result.json").read_text())
    assert (found["folds"], found["seeds"]) == ([0, 1, 2, 3, 4], [0])
    assert found["study"]["design"]["kind"] == "cross-validation"
    assert found["study"]["answer"]["verdict"] == "hurt", found["study"]["answer"]
    assert (folder / "contrasts.png").stat().st_size > 10_000
    (folder / "fold_4_seed_0.json").rename(tmp_path / "kept.json")
    collect(folder, draws=400)
    answer = json.loads((folder / "result.json").read_text())["study"]["answer"]
    assert (answer["verdict"], answer["reason"]) == ("not shown", "4 of 5 folds are scored")
    (tmp_path / "kept.json").rename(folder / "fold_4_seed_0.json")
    collect(folder, draws=400)
    table = (folder / "table.md").read_text()
    assert "Folds finished: 0, 1, 2, 3, 4" in table
    assert found["study"]["answer"]["sentence"] in table
    assert "| random |" in table
    write_fold(folder, runs[3], 3, denoiser={"steps": 7})
    with pytest.raises(
        ConfigError, match=r"fold 3, seed 0: .* denoiser\.steps \(4000 there, 7 now\); run it again"
    ):
        collect(folder, draws=400)


def test_no_fold_yet_is_said(tmp_path: Path) -> None:
    assert "Folds finished: none" in (collect(tmp_path) / "table.md").read_text()
