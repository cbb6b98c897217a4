"""`hardcase run --folds 0-4`: a run per fold and training set, checked before the first, and one study of all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from engine.commands import report_command, run_command
from engine.commands.run_study import numbers, run_study
from engine.errors import ConfigError
from engine.execution.console import quiet_console
from tests.integration.tiny import tiny_tree

SPLIT = {"mine": 0.0, "val": 0.3, "folds": {"count": 3}}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "a.yaml"
    tree = tiny_tree(str(tmp_path / "runs"), name="a", loop={"rounds": 1, "mine_from": "crossfit"})
    tree["data"] = {**tree["data"], "split": {**SPLIT, "train_sets": {"count": 2, "images": 20}}}
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would have been run, and the study made of it."""
    calls: list[Any] = []
    monkeypatch.setattr(
        run_command, "run", lambda _path, keys, _console, **how: calls.append((*keys, *how.items()))
    )
    monkeypatch.setattr(
        report_command,
        "report",
        lambda runs, _console, out: calls.append([*[r.name for r in runs], out.name]),
    )
    return calls


def test_every_fold_of_every_set_is_run_in_order_and_then_the_study(config: Path, played: list[Any]) -> None:
    run_study(config, ["seed=4"], quiet_console(), folds="0,2", sets="0-1")
    *runs, study = played
    assert [keys[:3] for keys in runs[:2]] == [
        ("seed=4", "data.split.folds.use=0", f"data.split.train_sets.use=[{number}]") for number in (0, 1)
    ]
    names = [f"a-fold-{fold}-set-{number}" for fold in (0, 2) for number in (0, 1)]
    assert [keys[3] for keys in runs] == [f"name={name}" for name in names]
    assert study == [*names, "a-study"]


def test_one_run_makes_no_study_and_a_dry_run_plans_the_first(config: Path, played: list[Any]) -> None:
    run_study(config, [], quiet_console(), folds="1", fresh=True)
    assert played == [
        ("data.split.folds.use=1", "name=a-fold-1", ("fresh", True), ("in_study", True), ("profile", False))
    ]
    run_study(config, [], Console(quiet=True), sets="0,1", dry_run=True)
    assert played[1:] == [("data.split.train_sets.use=[0]", "name=a-set-0", ("dry_run", True))]


@pytest.mark.parametrize(
    ("options", "keys", "said"),
    [
        ({"folds": "0-3"}, [], "use 3 is no fold"),
        ({"sets": "0-2"}, [], "train_sets"),
        (
            {"folds": "0"},
            ["data.split.folds=null", "data.split.val=0.1"],
            r"--folds: data\.split\.folds is not set",
        ),
        ({"sets": "0"}, ["data.split.train_sets=null"], r"--sets: data\.split\.train_sets is not set"),
    ],
)
def test_what_the_config_does_not_hold_is_refused_before_anything_runs(
    config: Path, played: list[Any], options: dict[str, str], keys: list[str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        run_study(config, keys, quiet_console(), **options)
    assert played == []


def test_lists_of_numbers() -> None:
    assert numbers("0-2, 7", "--folds") == [0, 1, 2, 7]
    for wrong in ("", "a", "3-1", "0-2,1", "-1", "1.5", "0--2", "99999"):
        with pytest.raises(ConfigError, match="--folds"):
            numbers(wrong, "--folds")


@pytest.mark.slow
@pytest.mark.heavy  # study pages of folds are made in tests of the study
def test_two_folds_end_in_one_study(config: Path) -> None:
    run_study(config, ["loop.arms=[real, random, hard]"], quiet_console(), folds="0-1")
    study = json.loads((config.parent / "runs" / "a-study" / "study.json").read_text())
    assert [run["name"] for run in study["runs"]] == ["a-fold-0", "a-fold-1"]
