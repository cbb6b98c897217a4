"""What a sweep decides: the next settings, who is stopped. State is rebuilt from the journal, decisions never repeated.

A searcher and a scheduler learn from the order of events. After a kill they are fed the journal's events in the
order in which they happened, so they stand where they stood; what they decided then is read from the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from engine.errors import ConfigError
from engine.tuning.journal import FRESH, Journal

RUNNING, FINISHED, STOPPED, FAILED = "running", "finished", "stopped", "failed"


class Searcher(Protocol):
    """Suggests settings and learns from values (larger is better)."""

    def suggest(self, number: int) -> Mapping[str, Any] | None:
        """Return the settings of a new trial, None where there are no more."""
        ...

    def report(self, number: int, round_number: int, value: float) -> None:
        """Hear a trial's value after a round."""
        ...

    def end(self, number: int, value: float | None) -> None:
        """Hear a trial's last value; None where it failed."""
        ...


class Scheduler(Protocol):
    """Says which trials are worth going on with (larger values are better)."""

    def add(self, number: int) -> None:
        """Hear of a new trial."""
        ...

    def stops(self, number: int, round_number: int, value: float) -> bool:
        """Return whether the trial ends after this round."""
        ...


@dataclass
class TrialRecord:
    """One trial: its settings, what it reported a round, how it stands."""

    number: int
    settings: Mapping[str, Any]
    values: dict[int, float] = field(default_factory=dict)
    decisions: dict[int, str] = field(default_factory=dict)
    status: str = RUNNING
    reason: str = ""

    @property
    def last(self) -> float | None:
        """The value of its last round."""
        return self.values[max(self.values)] if self.values else None


class Sweep:
    """The decisions of one sweep; ``better`` turns a figure into a number that grows as it gets better."""

    def __init__(
        self,
        journal: Journal,
        *,
        searcher: Searcher,
        scheduler: Scheduler,
        trials: int,
        rounds: int,
        better: Callable[[float], float],
        heard: Callable[[TrialRecord, int | None], None] = lambda _trial, _round: None,
    ) -> None:
        """Rebuild where the journal left off; ``heard`` is told of each report (its round) and each end (None).

        Raises:
            ConfigError: the searcher suggests other settings than the journal has (another version of it).
        """
        self.journal = journal
        self.searcher = searcher
        self.scheduler = scheduler
        self.total = trials
        self.rounds = rounds
        self.better = better
        self.heard = heard
        self.trials: dict[int, TrialRecord] = {}
        for event in journal.events:
            self._replay(event)
        for trial in list(self.trials.values()):
            if trial.status == RUNNING and STOPPED in trial.decisions.values():
                self.end(trial.number)
        self.waiting = [t.number for t in self.trials.values() if t.status == RUNNING]

    @property
    def left(self) -> int:
        """How many trials are not at their end."""
        return self.total - sum(trial.status != RUNNING for trial in self.trials.values())

    def next(self) -> TrialRecord | None:
        """Return the next trial to run: first those a kill broke off, then new ones."""
        if self.waiting:
            return self.trials[self.waiting.pop(0)]
        number = len(self.trials) + 1
        settings = self.searcher.suggest(number) if number <= self.total else None
        if settings is None:
            return None
        self._write({"event": "suggest", "trial": number, "settings": dict(settings)})
        self.scheduler.add(number)
        return self.trials[number]

    def decide(self, number: int, round_number: int, value: float) -> bool:
        """Take a trial's report and return whether it is stopped; an answer once given stays."""
        trial = self.trials[number]
        if round_number not in trial.decisions:
            stop = self._learn(number, round_number, value)
            self._write({"event": "report", "trial": number, "round": round_number, "value": value,
                         "decision": STOPPED if stop else "continue"})  # fmt: skip
            self.heard(trial, round_number)
        return trial.decisions[round_number] == STOPPED

    def end(self, number: int, failed: str | None = None) -> None:
        """Take a trial's end: by itself, because it was stopped, or ``failed`` with the reason."""
        trial = self.trials[number]
        if trial.status != RUNNING:
            return
        status = (
            FAILED if failed is not None else STOPPED if STOPPED in trial.decisions.values() else FINISHED
        )
        self._tell_end(trial, status)
        self._write({"event": "end", "trial": number, "status": status, "reason": failed or ""})
        self.heard(trial, None)

    def best(self) -> TrialRecord | None:
        """Return the finished trial whose last value is best; a tie goes to the earlier one."""
        done = [t for t in self.trials.values() if t.status == FINISHED and t.last is not None]
        return max(done, key=lambda t: (self.better(t.last or 0.0), -t.number), default=None)

    def _learn(self, number: int, round_number: int, value: float) -> bool:
        """Let the scheduler decide and the searcher hear; the last round ends by itself."""
        good = self.better(value)
        stop = self.scheduler.stops(number, round_number, good) and round_number < self.rounds
        if not stop:
            self.searcher.report(number, round_number, good)
        return stop

    def _tell_end(self, trial: TrialRecord, status: str) -> None:
        last = trial.last
        self.searcher.end(trial.number, None if status == FAILED or last is None else self.better(last))

    def _write(self, event: Mapping[str, Any]) -> None:
        self.journal.append(event)
        self._apply(event)

    def _apply(self, event: Mapping[str, Any]) -> None:
        number = event["trial"]
        if event["event"] == "suggest":
            self.trials[number] = TrialRecord(number=number, settings=event["settings"])
        elif event["event"] == "report":
            self.trials[number].values[event["round"]] = event["value"]
            self.trials[number].decisions[event["round"]] = event["decision"]
        else:
            self.trials[number].status, self.trials[number].reason = event["status"], event["reason"]

    def _replay(self, event: Mapping[str, Any]) -> None:
        """Feed one journalled event to searcher and scheduler; the journal's answer counts, not theirs."""
        number = event["trial"]
        if event["event"] == "suggest":
            suggested = self.searcher.suggest(number)
            if suggested is None or dict(suggested) != event["settings"]:
                raise ConfigError(
                    f"{self.journal.path}: trial {number} was suggested by another version of the searcher; {FRESH}"
                )
            self.scheduler.add(number)
        elif event["event"] == "report":
            self._learn(number, event["round"], event["value"])
        else:
            self._tell_end(self.trials[number], event["status"])
        self._apply(event)
