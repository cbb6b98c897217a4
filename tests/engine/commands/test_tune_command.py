"""What `hardcase tune` prints: a line a report, and a table with the best first."""

from __future__ import annotations

from typing import Any

from engine.commands.tune_command import trial_line, trial_table
from engine.tuning.decisions import FAILED, TrialRecord


def trial(number: int, status: str, *values: float) -> dict[str, Any]:
    return {"trial": number, "settings": {"loop.budget": number}, "status": status, "value": values[-1],
            "values": {str(i): v for i, v in enumerate(values)}, "seconds": {"run": 3.4, "found": 9.0}}  # fmt: skip


def order_of(mode: str) -> list[str]:
    trials = [
        trial(1, "finished", 0.5, 0.6, 0.7),
        trial(2, "stopped", 0.5, 0.9),
        trial(3, "finished", 0.5, 0.6, 0.4),
    ]
    table = trial_table({"objective": {"metric": "nll", "mode": mode}, "trials": trials})
    return [str(cell) for cell in table.columns[0].cells]


def test_the_best_comes_first_and_the_stopped_last() -> None:
    assert order_of("max") == ["1", "3", "2"]
    assert order_of("min") == ["3", "1", "2"]


def test_a_line_names_the_settings_once_and_the_reason_of_a_failure() -> None:
    record = TrialRecord(number=4, settings={"loop.budget": 7}, values={0: 0.5, 1: 0.25})
    assert trial_line(record, 0) == "trial 4  round 0  0.5000  loop.budget=7"
    assert trial_line(record, 1) == "trial 4  round 1  0.2500"
    record.status, record.reason = FAILED, "mine: nothing is hard"
    assert trial_line(record, None) == "trial 4  failed: mine: nothing is hard"
