"""Figures of the active study: learning curves over starts that share a test part, and the contrasts of its protocol.

Shape legend: R starts, B bootstrap draws, P points of a curve (rounds).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from engine.arms import ENGINE, START
from engine.errors import DataError
from engine.study.comparison import Difference, holm
from engine.study.design import Design, find_design
from engine.study.design_intervals import headline_of, intervals
from engine.study.label_curves import label_curves, level
from engine.study.label_scores import QUERY, RANDOM, LabelScores
from engine.study.labels import Amount, Curve, Savings

DRAWS: Final = 2000
STARTS: Final = 5
"""Starts that PROTOCOL.md plans; nothing is claimed of fewer."""
MARGIN: Final = "queried by margin"
SAW: Final = "hard, generator saw unlabelled"
BOTH: Final = "hard_and_queried"
CONTRASTS: Final = (
    (QUERY, RANDOM, True),
    (SAW, ENGINE, True),
    (QUERY, MARGIN, False),
    (ENGINE, START, False),
    (BOTH, QUERY, False),
)
"""Curve, baseline, whether PROTOCOL.md plans a claim on it; compared at their last points."""


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """The difference of two curves at their last points, with the Holm-adjusted p value where it is confirmatory."""

    name: str
    difference: Difference
    values: tuple[float, ...]
    confirmatory: bool
    adjusted_p: float | None = None


@dataclass(frozen=True, kw_only=True)
class ActiveStudy:
    """Curves by name (of one point where an arm buys no labels), label savings, a label's worth, and contrasts."""

    design: Design
    curves: Mapping[str, Curve]
    savings: tuple[Savings, ...]
    worth: tuple[Amount | None, str]
    contrasts: tuple[Contrast, ...]

    def sentence(self) -> str:
        """Return the answer in one sentence; no gain is shown before all planned starts are scored."""
        found = {one.name: one for one in self.contrasts}
        whole = self.design.replicates >= STARTS
        said = [
            f"{words} {'gained' if whole and _shown(found[name]) else 'is not shown to gain'} "
            f"({100 * found[name].difference.value:+.1f} points of AUROC, {100 * found[name].difference.low:+.1f} to "
            f"{100 * found[name].difference.high:+.1f})"
            for words, name in (
                ("Asking by the policy", _title(QUERY, RANDOM)),
                ("a generator that saw the unlabelled images", _title(SAW, ENGINE)),
            )
        ]
        starts = (
            f"{self.design.replicates} starts"
            if whole
            else f"{self.design.replicates} of {STARTS} planned starts"
        )
        return f"Over {starts}, SIMULATED LABELS: {'; '.join(said)}."

    def to_json(self) -> dict[str, Any]:
        """Return what result.json keeps."""
        return {
            "design": asdict(self.design),
            "curves": {
                name: {
                    "asked": curve.asked_P.tolist(),
                    "auc_by_start": curve.value_RP.tolist(),
                    "auc": [asdict(one) for one in self.along(curve)],
                }
                for name, curve in self.curves.items()
            },
            "savings": [_finite(asdict(one)) for one in self.savings],
            "worth": {
                "amount": None if self.worth[0] is None else _finite(asdict(self.worth[0])),
                "why_not": self.worth[1],
            },
            "contrasts": [asdict(one) for one in self.contrasts],
        }

    def along(self, curve: Curve) -> list[Difference]:
        """Return the mean over starts at every point of a curve, with the outer ends of the design's intervals."""
        return [
            headline_of(intervals(value_R, drawn_RB, self.design, 0))
            for value_R, drawn_RB in zip(curve.value_RP.T, np.moveaxis(curve.drawn_RBP, 2, 0), strict=True)
        ]


def read_study(starts: Sequence[Mapping[str, LabelScores]], draws: int = DRAWS) -> ActiveStudy:
    """Return the study of finished starts: ``policy``, ``margin`` and ``saw`` are the runs of one.

    Raises:
        DataError: the runs are of no one study, or their predictions are not all there.
    """
    of = {kind: [start[kind] for start in starts] for kind in ("policy", "margin", "saw")}
    design = find_design([run.replicate for run in of["policy"]])
    own, margin = (label_curves(of[kind], design, draws=draws) for kind in ("policy", "margin"))
    if own is None or margin is None or not {QUERY, RANDOM} <= set(own.curves):
        raise DataError("a run has no predictions of every round of the arms that buy labels; run it again")
    curves = dict(own.curves) | {MARGIN: margin.curves[QUERY]} | dict(own.levels)
    curves[SAW] = replace(level(of["saw"], design, ENGINE, draws=draws), arm=SAW)
    found = {
        (one, other): compared(curves[one], curves[other], design)
        for one, other, _ in CONTRASTS
        if one in curves and other in curves
    }
    planned = [(one, other) for one, other, confirmatory in CONTRASTS if confirmatory]
    known = {_title(*pair): p for pair in planned if (p := found[pair].p_value) is not None}
    adjusted = holm(known)
    return ActiveStudy(
        design=design,
        curves=curves,
        savings=own.savings(),
        worth=own.worth(),
        contrasts=tuple(
            Contrast(
                name=_title(one, other),
                difference=found[one, other],
                values=tuple((curves[one].value_RP[:, -1] - curves[other].value_RP[:, -1]).tolist()),
                confirmatory=confirmatory,
                adjusted_p=adjusted.get(_title(one, other)) if confirmatory else None,
            )
            for one, other, confirmatory in CONTRASTS
            if (one, other) in found
        ),
    )


def compared(one: Curve, other: Curve, design: Design) -> Difference:
    """Return the difference of two curves at their last points."""
    value_R = one.value_RP[:, -1] - other.value_RP[:, -1]
    drawn_RB = one.drawn_RBP[:, :, -1] - other.drawn_RBP[:, :, -1]
    return headline_of(intervals(value_R, drawn_RB, design, 0))


def _title(one: str, other: str) -> str:
    return f"{one} minus {other}"


def _shown(contrast: Contrast) -> bool:
    return contrast.adjusted_p is not None and contrast.adjusted_p < 0.05 and contrast.difference.value > 0


def _finite(tree: Any) -> Any:
    """Replace infinite amounts, which JSON does not know, by "more than all"."""
    if isinstance(tree, dict):
        return {key: _finite(value) for key, value in tree.items()}
    return "more than all" if isinstance(tree, float) and np.isinf(tree) else tree
