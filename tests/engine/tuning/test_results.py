"""What a sweep leaves is read from the journal and the trials' folders: figures of val alone, a stage counted once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from engine import build
from engine.config import parse_config
from engine.tuning.decisions import FINISHED, TrialRecord
from engine.tuning.results import StageCosts, trial_folder, trial_object, write_best, write_results


def write_stages(folder: Path, *entries: tuple[str, bool, float]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {"role": "r", "stage": "s", "key": key, "ran": ran, "seconds": seconds}
        for key, ran, seconds in entries
    ]
    (folder / "stages.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def entry(number: int, arm: str, value: float) -> dict[str, Any]:
    return {
        "round": number,
        "arm": arm,
        "val": {"nll": {"value": value, "low": 0.0, "high": 2.0}},
        "test": {"nll": {"value": 9.0}},
    }


def test_a_stage_counts_once_and_as_run_where_any_process_ran_it(tmp_path: Path) -> None:
    write_stages(tmp_path, ("a", True, 2.0), ("b", False, 5.0), ("a", False, 2.0), ("b", False, 5.0))
    costs = StageCosts.read(tmp_path)
    assert (costs.run, costs.found) == ({"s-a": 2.0}, {"s-b": 5.0})
    assert costs.seconds() == {"run": 2.0, "found": 5.0}
    assert StageCosts.read(tmp_path / "none").seconds() == {"run": 0, "found": 0}


@pytest.fixture
def trial(tmp_path: Path) -> dict[str, Any]:
    folder = trial_folder(tmp_path, 3)
    write_stages(folder, ("a", True, 2.0))
    rounds = [entry(0, "real", 0.9), entry(1, "hard", 0.8), entry(1, "real", 0.1), entry(2, "hard", 0.7)]
    (folder / "report.json").write_text(json.dumps({"schema_version": 2, "rounds": rounds}))
    record = TrialRecord(number=3, settings={"policy.mining.name": "margin", "loop.budget": 7}, status=FINISHED,
                         values={0: 0.9, 1: 0.8})  # fmt: skip
    return trial_object(record, tmp_path)


def test_a_trial_shows_val_of_the_arm_that_counts_in_the_rounds_it_reported(trial: dict[str, Any]) -> None:
    assert {number: figures["val/nll"] for number, figures in trial["val"].items()} == {"0": 0.9, "1": 0.8}
    assert trial["value"] == 0.8
    assert "test" not in json.dumps(trial)


def test_the_table_has_a_row_a_trial_and_round(trial: dict[str, Any], tmp_path: Path) -> None:
    empty = {**trial, "trial": 4, "status": "failed", "values": {}, "val": {}}
    write_results({"trials": [trial, empty]}, tmp_path)
    rows = pd.read_parquet(tmp_path / "trials.parquet")
    assert rows[["trial", "round"]].fillna(-1).astype(int).to_numpy().tolist() == [[3, 0], [3, 1], [4, -1]]
    assert rows["policy.mining.name"].tolist() == ['"margin"'] * 3
    assert rows["val/nll"].tolist()[:2] == [0.9, 0.8]
    assert json.loads((tmp_path / "tune.json").read_text())["trials"][0] == trial


def test_the_best_config_says_where_it_comes_from_and_loads(trial: dict[str, Any], tmp_path: Path) -> None:
    found = {"name": "s", "objective": {"metric": "nll"}, "trials": [trial],
             "best": {"trial": 3, "value": 0.8, "settings": trial["settings"]}}  # fmt: skip
    write_best(parse_config({"name": "s_best"}), found, tmp_path / "best.yaml")
    text = (tmp_path / "best.yaml").read_text()
    assert (
        "trial 3" in text and "Val chose it (nll 0.8000" in text and "#   policy.mining.name=margin" in text
    )
    assert build.load(tmp_path / "best.yaml").name == "s_best"
