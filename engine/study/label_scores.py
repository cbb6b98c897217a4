"""What learning curves need of one run: malignant scores of the test part, for each round of the arms that buy labels.

Shape legend: N images of the test part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from engine.arms import ARMS, ENGINE, START
from engine.artifacts import predictions
from engine.artifacts.report_json import RoundEntry, RunReport
from engine.artifacts.run_files import RunFiles
from engine.artifacts.run_layout import arm_label
from engine.evaluation.scoring import malignant_score
from engine.study.replicates import Replicate
from engine.study.run_replicates import open_entries
from engine.types import FloatArray

RANDOM: Final = next(arm.name for arm in ARMS.values() if arm.asks == "random")
"""The arm that asks by chance."""
QUERY: Final = next(arm.name for arm in ARMS.values() if arm.asks == "policy")
"""The arm for which the query policy asks."""
Point = tuple[int, str]
"""(round, arm)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelScores:
    """Scores of one run.

    Attributes:
        replicate: its test part, lesions and endpoints; what it predicts is not read from here.
        score: of each (round, arm), the malignant score (N,) by each classifier seed; no seed where no class, or every
            one, is malignant.
        asked: of each (round, arm), labels asked for so far.
        last: the last round of ``hard``.
        images: synthetic images that ``hard`` trained on in it.
    """

    replicate: Replicate
    score: Mapping[Point, Sequence[FloatArray]]
    asked: Mapping[Point, int]
    last: int
    images: int

    def rounds(self, arm: str) -> set[int]:
        """Return the rounds in which an arm had bought labels."""
        return {number for (number, name), asked in self.asked.items() if name == arm and asked}


def bought(runs: Sequence[RunFiles]) -> tuple[str, ...]:
    """Return the arms that have bought labels in every run, in the order of the table of arms."""
    found = [{entry.arm for entry in run.report.rounds if entry.labels is not None} for run in runs]
    return tuple(arm for arm in ARMS if all(arm in one for one in found))


def asked(entry: RoundEntry) -> int:
    """Return the labels asked for up to a (round, arm); none before an arm bought any."""
    return 0 if entry.labels is None else entry.labels.asked


def read_scores(run: RunFiles) -> LabelScores | None:
    """Read a run's scores; None where `hard` was never trained, or the predictions of a round are not there.

    Raises:
        DataError: predictions are damaged, or arms predict other images.
    """
    last = run.report.last_round(ENGINE)
    if last is None or run.split is None:
        return None
    found = _points(run.report, last)
    if not all(predictions.SCHEMA.present(run.layout.arm_folder(*point)) for point in found):
        return None
    replicate = open_entries(run, list(found))
    columns = replicate.malignant_columns
    known = bool(columns) and len(columns) < len(replicate.classes)
    return LabelScores(
        replicate=replicate,
        score={
            point: [malignant_score(one, columns) for one in replicate.test.seeds(arm_label(*point))]
            if known
            else []
            for point in found
        },
        asked=found,
        last=last,
        images=_images(run.report, last),
    )


def _points(report: RunReport, last: int) -> dict[Point, int]:
    """The start, every round of an arm that bought labels, `real` and `hard` at the end; with labels asked for."""
    levels = {(0, START), (last, START), (last, ENGINE)}
    return {
        (entry.round, entry.arm): asked(entry)
        for entry in report.rounds
        if entry.labels is not None or (entry.round, entry.arm) in levels
    }


def _images(report: RunReport, number: int) -> int:
    entry = report.entry(number, ENGINE)
    if entry is not None and entry.pool is not None:
        added: Mapping[str, int] = entry.pool.get("added") or {}
        return sum(added.values())
    return sum(one.n_accepted for one in report.of_arm(ENGINE) if one.round <= number)
