"""A run whose workers are lost: the same report, and the causes in stages.jsonl and report.json, also after a rerun."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import StageError
from engine.execution.attempts import AttemptError
from engine.execution.backend import StageCall
from engine.training.plan import Progress
from engine.types import Cause
from tests.engine.test_loop import play
from tests.paper_backend import PaperBackend

LOST = AttemptError(Cause.WORKER_LOST, "signal 9")
GONE = AttemptError(Cause.PREEMPTED, "node 3 goes")


class Unsteady(PaperBackend):
    """Loses the first attempts at stages, as ``losses`` says by stage."""

    def __init__(self, losses: dict[str, list[AttemptError]]) -> None:
        super().__init__([0.5, 0.6])
        self.losses = losses

    def run(self, call: StageCall, progress: Progress) -> None:
        if self.losses.get(call.stage):
            raise self.losses[call.stage].pop(0)
        super().run(call, progress)


def test_causes_stand_in_the_log_and_the_report_and_nothing_else_changes(tmp_path: Path) -> None:
    loop = {"rounds": 1, "arms": ["hard"]}
    steady = play(tmp_path / "steady", PaperBackend([0.5, 0.6]), loop=loop)
    assert "failed_attempts" not in steady
    report = play(tmp_path / "b", Unsteady({"vae": [LOST, GONE], "mine": [GONE]}), loop=loop)
    failed = report.pop("failed_attempts")
    assert without_seconds(failed) == {
        "foundation/vae": [
            {"cause": "worker lost", "said": "signal 9"}, {"cause": "preempted", "said": "node 3 goes"},
        ],
        "rounds/0001/hard/mine": [{"cause": "preempted", "said": "node 3 goes"}],
    }  # fmt: skip
    assert without_seconds(report) == without_seconds(steady)
    lines = [json.loads(x) for x in (tmp_path / "b" / "a" / "stages.jsonl").read_text().splitlines()]
    assert {line["stage"]: len(line["failed"]) for line in lines if "failed" in line} == {"vae": 2, "mine": 1}
    again = play(tmp_path / "b", PaperBackend([]), loop=loop)
    assert again["failed_attempts"] == failed


def test_a_stage_that_was_given_up_goes_on_in_the_next_run(tmp_path: Path) -> None:
    loop = {"rounds": 1, "arms": ["hard"]}
    with pytest.raises(StageError, match="given up after worker lost 3"):
        play(tmp_path, Unsteady({"vae": [LOST] * 3}), loop=loop)
    assert "failed_attempts" not in play(tmp_path, PaperBackend([0.5, 0.6]), loop=loop)


def without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_seconds(v) for k, v in value.items() if not k.endswith("seconds")}
    return [without_seconds(item) for item in value] if isinstance(value, list | tuple) else value
