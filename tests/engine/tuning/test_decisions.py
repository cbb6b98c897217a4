"""The journal brings a sweep back to where it stood, whatever order the results come in the second time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from engine.errors import ConfigError, DataError
from engine.tuning.decisions import FAILED, FINISHED, STOPPED, Sweep, TrialRecord
from engine.tuning.journal import Journal

IDENTITY = {"search_space": {"x": [1, 2]}, "tune.seed": 0}
VALUES = {1: [0.5, 0.6, 0.7], 2: [0.5, 0.4, 0.3], 3: [0.5, 0.9, 0.8], 4: [0.5, 0.65, 0.1]}
"""Value of each trial in rounds 0, 1, 2."""


class Telling:
    """A searcher whose suggestion says all it has heard, so that two that heard the same suggest the same."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def suggest(self, number: int) -> Mapping[str, object]:
        self.heard.append(f"suggest {number}")
        return {"x": " ".join(self.heard)}

    def report(self, number: int, round_number: int, value: float) -> None:
        self.heard.append(f"{number}.{round_number}={value}")

    def end(self, number: int, value: float | None) -> None:
        self.heard.append(f"end {number} {value}")


class BelowBest:
    """Stops a trial that is below the best that any trial has had in that round, from round 1 on."""

    def __init__(self) -> None:
        self.best: dict[int, float] = {}

    def add(self, number: int) -> None:
        pass

    def stops(self, number: int, round_number: int, value: float) -> bool:
        behind = round_number > 0 and value < self.best.get(round_number, value)
        self.best[round_number] = max(value, self.best.get(round_number, value))
        return behind


def sweep_in(folder: Path, **changes: object) -> Sweep:
    folder.mkdir(exist_ok=True)
    return Sweep(
        Journal.open(folder, IDENTITY), searcher=Telling(), scheduler=BelowBest(), trials=4, rounds=2,
        better=lambda v: v, **changes,
    )  # fmt: skip


def advance(sweep: Sweep, trial: TrialRecord, until: int = 2) -> None:
    """Play a trial from its first round, as a rerun does, up to a round; end it where it ends."""
    for number in range(until + 1):
        if sweep.decide(trial.number, number, VALUES[trial.number][number]):
            sweep.end(trial.number)
            return
    if until == 2:
        sweep.end(trial.number)


def play(sweep: Sweep) -> None:
    while (trial := sweep.next()) is not None:
        advance(sweep, trial)


def decisions(sweep: Sweep) -> dict[int, dict[int, str]]:
    return {n: t.decisions for n, t in sweep.trials.items()}


def test_a_sweep_stops_who_is_behind_and_val_picks_among_those_that_finished(tmp_path: Path) -> None:
    sweep = sweep_in(tmp_path)
    play(sweep)
    assert {n: t.status for n, t in sweep.trials.items()} == {
        1: FINISHED,
        2: STOPPED,
        3: FINISHED,
        4: STOPPED,
    }
    assert decisions(sweep)[2] == {0: "continue", 1: "stopped"}
    best = sweep.best()
    assert best is not None and best.number == 3


@pytest.mark.parametrize("kept", range(2, 16))
def test_killed_after_any_line_the_rerun_decides_the_same(tmp_path: Path, kept: int) -> None:
    whole = sweep_in(tmp_path / "whole")
    play(whole)
    lines = (tmp_path / "whole" / "journal.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / "journal.jsonl").write_text("".join(lines[:kept]) + lines[-1][:9])
    rerun = sweep_in(tmp_path / "killed")
    play(rerun)
    assert (tmp_path / "killed" / "journal.jsonl").read_text() == "".join(lines)
    assert rerun.searcher.heard == whole.searcher.heard


def test_two_trials_at_a_time_come_back_in_another_order_and_decide_the_same(tmp_path: Path) -> None:
    before = sweep_in(tmp_path)
    first, second, third = before.next(), before.next(), before.next()
    assert first and second and third
    advance(before, second, until=1)
    advance(before, third, until=1)
    advance(before, first, until=1)  # 0.6 after 0.4 and 0.9: stopped, ended
    assert before.trials[1].status == STOPPED
    rerun = sweep_in(tmp_path)
    waiting = [rerun.next(), rerun.next()]
    assert [t.number for t in waiting if t] == [2, 3]
    for trial in reversed(
        waiting
    ):  # trial 3 reports first this time; by order, trial 2 would be stopped in round 1
        assert trial
        advance(rerun, trial)
    assert decisions(rerun)[2][1] == "continue"
    assert decisions(rerun)[1] == decisions(before)[1]
    events = Journal.open(tmp_path, IDENTITY).events
    told = [(e["trial"], e["round"]) for e in events if e["event"] == "report"]
    assert len(told) == len(set(told)), "a decision was taken twice"


def test_a_trial_stopped_just_before_the_kill_is_not_run_again(tmp_path: Path) -> None:
    sweep = sweep_in(tmp_path)
    one, two = sweep.next(), sweep.next()
    assert one and two
    advance(sweep, one)
    sweep.decide(2, 0, 0.5)
    assert sweep.decide(2, 1, 0.4)  # and killed before its end
    ended: list[int] = []
    rerun = sweep_in(tmp_path, heard=lambda t, r: ended.append(t.number) if r is None else None)
    assert rerun.trials[2].status == STOPPED
    assert ended == [2]
    following = rerun.next()
    assert following is not None and following.number == 3


def test_a_failed_trial_has_a_reason_and_is_never_best(tmp_path: Path) -> None:
    sweep = sweep_in(tmp_path)
    trial = sweep.next()
    assert trial
    sweep.decide(1, 0, 99.0)
    sweep.end(1, failed="policy.mining: nothing to mine")
    sweep.end(1)  # Ray tells of the end once more
    assert (trial.status, trial.reason) == (FAILED, "policy.mining: nothing to mine")
    assert sweep.best() is None
    assert sweep_in(tmp_path).trials[1].reason == trial.reason


def test_smaller_may_be_better(tmp_path: Path) -> None:
    sweep = Sweep(
        Journal.open(tmp_path, IDENTITY), searcher=Telling(), scheduler=BelowBest(), trials=2, rounds=1,
        better=lambda v: -v,
    )  # fmt: skip
    for values in ([0.5, 0.4], [0.5, 0.3]):
        trial = sweep.next()
        assert trial
        for number, value in enumerate(values):
            sweep.decide(trial.number, number, value)
        sweep.end(trial.number)
    best = sweep.best()
    assert best is not None and best.number == 2


def test_more_trials_go_on_where_fewer_ended(tmp_path: Path) -> None:
    play(sweep_in(tmp_path))
    longer = sweep_in(tmp_path)
    longer.total = 5
    trial = longer.next()
    assert trial is not None and trial.number == 5


def test_another_search_under_the_name_is_refused_with_the_remedy(tmp_path: Path) -> None:
    Journal.open(tmp_path, IDENTITY)
    with pytest.raises(ConfigError, match=r"tune.seed \(0 there, 1 now\).*--fresh"):
        Journal.open(tmp_path, {**IDENTITY, "tune.seed": 1})


def test_a_searcher_that_suggests_otherwise_is_refused(tmp_path: Path) -> None:
    play(sweep_in(tmp_path))
    path = tmp_path / "journal.jsonl"
    path.write_text(path.read_text().replace('"suggest 1"', '"else"'))
    with pytest.raises(ConfigError, match="another version of the searcher"):
        sweep_in(tmp_path)


def test_a_broken_journal_is_named(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_text("not json\n")
    with pytest.raises(DataError, match=r"journal\.jsonl"):
        Journal.open(tmp_path, IDENTITY)
