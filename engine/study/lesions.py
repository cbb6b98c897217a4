"""How many lesions a figure rests on: too few, and no interval of it can be believed.

A resample of one lesion has no variance, one of three has two thirds of it: intervals of few lesions are too narrow, and of
one have no width at all. Counted is what a bootstrap draws as one (a lesion, or the patient it belongs to), all runs of a
study together, and the scarcest of all kinds that the figure needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from engine.artifacts.report_json import steps_of
from engine.evaluation.figures import figure_words, inside_sentence
from engine.evaluation.intervals import DIFFERENCE, no_interval
from engine.evaluation.statistics import LEVEL
from engine.evaluation.subgroups import FEWEST_LESIONS
from engine.study.comparison import Difference, too_few_draws
from engine.study.replicates import Replicate

MEANS_OVER_CLASSES = ("balanced_accuracy", "auc")
"""Figures in which each class counts the same, so that the scarcest class decides."""


@dataclass(frozen=True, kw_only=True)
class Behind:
    """How many lesions a figure rests on, and which they are: ``malignant test``, ``benign val``."""

    count: int
    what: str

    @property
    def words(self) -> str:
        """``1 malignant test lesion``."""
        return f"{self.count} {self.what} lesion{'' if self.count == 1 else 's'}"


def behind(runs: Sequence[Replicate], figure: str) -> Behind:
    """Return the scarcest lesions that a figure needs.

    Sensitivity rests on the class's test lesions, specificity on the others', AUC and the mean sensitivity over a range of
    specificity on both, means over classes on the scarcest class, everything else on all test lesions. Operating points rest
    on the val lesions that fix them too: benign ones for a given specificity, melanomas for a given sensitivity.
    """
    found = [
        Behind(count=_count(runs, part, wanted), what=what) for part, wanted, what in _needs(runs[0], figure)
    ]
    return min(found, key=lambda one: one.count)


def why_untold(
    difference: Difference, figure: str, rests_on: Behind | None, draws: int, level: float = LEVEL
) -> str:
    """Say why nothing can be claimed of a difference, "" where something can.

    Args:
        difference: with the interval that decides.
        figure: its dotted name.
        rests_on: the lesions behind it; None: not known.
        draws: bootstrap draws in which it is defined.
        level: coverage of the interval.
    """
    name = plain_words(figure)
    if rests_on is None:
        return f"how many lesions {name} rests on is not known"
    if rests_on.count < FEWEST_LESIONS:
        return f"{name} rests on {rests_on.words}; {FEWEST_LESIONS} are the fewest for a claim"
    said = no_interval(difference.value, difference.low, difference.high, rests_on.count, DIFFERENCE)
    return f"{name} has no interval ({rests_on.words})" if said else too_few_draws(draws, level)


def plain_words(figure: str) -> str:
    """Return a figure's name inside a sentence."""
    return inside_sentence(figure_words(figure).removesuffix(" (lower is better)"))


def _needs(run: Replicate, figure: str) -> list[tuple[Literal["val", "test"], frozenset[str], str]]:
    """Each kind of lesions that a figure needs: part, classes, words."""
    every = frozenset(run.classes)
    *path, name = steps_of(figure)
    if not path:
        if name in MEANS_OVER_CLASSES:
            return [("test", frozenset({dx}), f"{dx} test") for dx in run.classes]
        return [("test", every, "test")]
    own, word, rest = {
        "malignant": (frozenset(run.endpoints.malignant), "malignant", "benign"),
        "melanoma": (frozenset({run.endpoints.melanoma or ""}), "melanoma", "other"),
    }.get(path[0], (frozenset(path[1:]), ".".join(path[1:]), "other"))
    needs: list[tuple[Literal["val", "test"], frozenset[str], str]] = []
    if name != "specificity":
        needs.append(("test", own, f"{word} test"))
    if name not in ("sensitivity",):
        needs.append(("test", every - own, f"{rest} test"))
    if name in ("sensitivity", "specificity") and path[0] == "malignant":
        needs.append(("val", every - own, f"{rest} val"))
    if name in ("sensitivity", "specificity") and path[0] == "melanoma":
        needs.append(("val", own, f"{word} val"))
    return needs


def _count(runs: Sequence[Replicate], name: Literal["val", "test"], wanted: frozenset[str]) -> int:
    found: set[str] = set()
    for run in runs:
        part = run.val if name == "val" else run.test
        rows_N = np.isin(part.label_N, [c for c, dx in enumerate(run.classes) if dx in wanted])
        found |= set(part.group_N[rows_N].tolist())
    return len(found)
