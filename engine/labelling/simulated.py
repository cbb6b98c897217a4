"""Which figures rest on labels that an oracle uncovered: wherever they are shown, SIMULATED LABELS stands beside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.artifacts.report_json import RoundEntry, RunReport
from engine.labelling.answers import Answers


def in_train(run: Path) -> bool:
    """Whether the oracle alone labelled an image that no round asked about: every arm of the run trains on it.

    Raises:
        DataError: labels.parquet or the questions of a round are damaged.
    """
    answers = Answers(run=run)
    simulated = answers.settled().simulated
    return bool(simulated) and not simulated.isdisjoint(answers.of_no_round())


def in_entry(run: Path, entry: RoundEntry) -> bool:
    """Whether one (round, arm) trained on such labels (DataError as ``in_train``)."""
    return (entry.labels is not None and entry.labels.simulated) or in_train(run)


def in_run(run: Path, report: RunReport) -> bool:
    """Whether any (round, arm) of a run trained on such labels (DataError as ``in_train``)."""
    return in_rounds(run, report.rounds)


def in_rounds(run: Path, rounds: Sequence[RoundEntry]) -> bool:
    """Whether any of these (round, arm) trained on such labels (DataError as ``in_train``)."""
    bought = (entry.labels for entry in rounds)
    return any(labels is not None and labels.simulated for labels in bought) or in_train(run)
