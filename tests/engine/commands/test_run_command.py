"""What `hardcase run` says of how a run ended."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from engine.commands.run_command import ending_lines, next_command
from engine.commands.run_study import plan
from engine.config import dump_yaml
from engine.store import RunFolder
from tests.integration.tiny import tiny_config


def test_a_roll_back_says_why_a_later_round_is_not_champion() -> None:
    stopping = {
        "action": "roll_back",
        "reason": "specificity fell to 0.850; back to round 1",
        "keep_round": 1,
    }
    champion = {"round": 1, "arm": "hard"}
    assert ending_lines({"stopping": stopping, "champion": champion}) == [
        "rolled back: specificity fell to 0.850; back to round 1; champion of the rounds up to 1: round 1 hard"
    ]
    assert ending_lines({"stopping": stopping, "champion": None})[0].endswith(": none"), "a leaky run"


def test_only_what_a_person_has_to_know_is_said() -> None:
    review = {"action": "review", "reason": "fill in review.csv"}
    assert ending_lines({"stopping": review, "champion": None}) == ["review  fill in review.csv"]
    assert ending_lines({"stopping": {"action": "stop", "reason": "done"}, "champion": None}) == []


@pytest.mark.parametrize(
    ("split", "options", "runs"),
    [
        ({}, "--folds 0-4", 5),
        ({"folds": {"count": 3}, "mine": 0.1, "val": 0.2}, "--folds 0-2", 3),
        ({"train_sets": {"count": 2, "images": 20}}, "--sets 0-1", 2),
    ],
)
def test_what_to_type_next_is_the_study_that_a_claim_needs_and_works(
    tmp_path: Path, split: dict[str, Any], options: str, runs: int
) -> None:
    config = tiny_config(str(tmp_path / "a b"), data={"split": split})
    folder = RunFolder.create(config)
    said = next_command(folder, {"stopping": {"action": "stop"}})
    assert options in said
    words = shlex.split(said.partition("   (")[0])
    assert words[:2] == ["hardcase", "run"] and Path(words[2]) == folder.path / "config.yaml"
    how = {words[3].removeprefix("--"): words[4]}
    _, found = plan(Path(words[2]), words[5:], folds=how.get("folds"), sets=how.get("sets"))
    assert len(found) == runs


def test_a_split_that_is_given_is_not_dealt_anew(tmp_path: Path) -> None:
    config = tiny_config(str(tmp_path), data={"split": {"official": True}})
    folder = RunFolder.create(config)
    folder.layout.config.write_text(dump_yaml(config))
    assert next_command(folder, {"stopping": {"action": "stop"}}).startswith("hardcase predict ")
    assert next_command(folder, {"stopping": {"action": "review"}}) == f"hardcase review {folder.path}"
