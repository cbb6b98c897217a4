"""No stage's output changes unnoticed: tiny real runs against tests/golden/outputs.json and report.json."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.arms import ARMS
from engine.stages import NAMES, find
from tests.golden import outputs
from tests.golden.blame import WRITE, blame

PINNED: dict[str, Any] = json.loads(outputs.FILE.read_text(encoding="utf-8"))
REPORT: dict[str, Any] = json.loads(outputs.REPORT.read_text(encoding="utf-8"))
Played = dict[str, tuple[dict[str, dict[str, Any]], dict[str, Any]]]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    written, here = PINNED["machine"], outputs.machine()
    differs = [f"{k} {written.get(k)} there, {v} here" for k, v in here.items() if written.get(k) != v]
    if differs:
        pytest.skip(
            f"outputs.json is of another machine ({', '.join(differs)}): {WRITE} on the commit before your change"
        )
    output = tmp_path_factory.mktemp("golden")
    return {name: outputs.play(name, output) for name in outputs.RUNS}


@pytest.mark.slow
def test_every_stage_writes_what_it_wrote(played: Played) -> None:
    lines = [line for name, (found, _) in played.items() for line in blame(PINNED["runs"][name], found)]
    assert not lines, "\n".join(lines)


@pytest.mark.slow
def test_the_report_is_what_it_was(played: Played) -> None:
    """Where stages are to blame as well, they come first: the report follows from them."""
    found = json.loads(json.dumps(played["latents"][1]))
    assert found == REPORT, f"report.json differs: if meant, {WRITE} and say why in CHANGELOG.md"


def test_the_pinned_runs_reach_every_stage_and_arm() -> None:
    roles = {role: record for run in PINNED["runs"].values() for role, record in run.items()}
    stages = {record["stage"] for run in PINNED["runs"].values() for record in run.values()}
    assert stages == set(NAMES), (
        f"a stage without a pinned output: reach it in tests/golden/outputs.py, then {WRITE}"
    )
    assert {role.split("/")[2] for role in roles if role.startswith("rounds/")} == set(ARMS)


def test_pinned_versions_are_the_code_s() -> None:
    old = {
        f"{record['stage']}: version {record['version']} is pinned, {find(record['stage']).version} is the code's"
        for run in PINNED["runs"].values()
        for record in run.values()
        if record["version"] != find(record["stage"]).version
    }
    assert not old, f"{'; '.join(sorted(old))}: {WRITE}"
