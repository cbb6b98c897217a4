"""The step after a run is one that works."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from engine.checked_config import load
from engine.commands.run_study import plan
from engine.config import dump_yaml
from engine.store import RunFolder
from engine.study.next_step import next_step
from tests.integration.tiny import tiny_config


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
    said = next_step(folder.layout, "stop", str(folder.path))
    assert said is not None and said.purpose == "the study that a claim needs"
    words = shlex.split(said.command)
    assert words[:2] == ["hardcase", "run"] and Path(words[2]) == folder.path / "config.yaml"
    assert words[3:5] == options.split()
    how = {words[3].removeprefix("--"): words[4]}
    _, found = plan(Path(words[2]), words[5:], folds=how.get("folds"), sets=how.get("sets"))
    assert len(found) == runs
    for name, keys in found.items():
        one = RunFolder.create(load(Path(words[2]), keys))
        assert one.path.name == name and next_step(one.layout, "stop", "RUN") is None, "a run of the study"


def test_a_split_that_is_given_is_not_dealt_anew(tmp_path: Path) -> None:
    config = tiny_config(str(tmp_path), data={"split": {"official": True}})
    folder = RunFolder.create(config)
    folder.layout.config.write_text(dump_yaml(config))
    for action, command in (
        ("stop", "hardcase predict 'a b' PHOTOGRAPHS --csv predictions.csv"),
        ("review", "hardcase review 'a b'"),
        ("failed", "hardcase run 'a b/config.yaml'"),
    ):
        step = next_step(folder.layout, action, "a b")
        assert step is not None and step.command == command
