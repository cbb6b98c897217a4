"""Answers a run's open questions with hidden labels, for studies; whatever is made with them is marked as simulated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.artifacts import oracle
from engine.labelling.answers import uncover
from engine.labelling.questions import open_images

MARK: Final = "SIMULATED LABELS"
"""What stands beside figures for which nobody looked at an image."""


@dataclass(frozen=True, kw_only=True)
class Uncovered:
    """How many labels were uncovered, how many open questions are left that have one, and how many that have none."""

    answered: int
    left: int
    unknown: int


def answer_open(run: Path, split: Path, count: int | None = None) -> Uncovered:
    """Uncover the hidden labels of the first ``count`` open questions (None: of all), in the order asked.

    Args:
        run: the run folder.
        split: the folder of stage ``split``, where hidden labels stand.
        count: at most so many.

    Raises:
        DataError: a file is damaged.
    """
    hidden = oracle.read(split)
    questions = open_images(run)
    known = [image for image in questions if image in hidden]
    chosen = known[:count]
    answered = uncover(run, chosen, split)
    return Uncovered(answered=answered, left=len(known) - len(chosen), unknown=len(questions) - len(known))
