"""Learning curves over labels asked for: malignant AUC of every round of the arms that buy labels.

An interval draws the same test lesions in every arm and round. Runs of one replicate and classifier seeds are averaged
first, as everywhere.

Shape legend: R replicates, B bootstrap draws, P points of a curve (rounds), N images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.arms import ARMS, ENGINE, START
from engine.artifacts.run_layout import arm_label
from engine.errors import DataError
from engine.evaluation.metrics import Floats, area_under_roc
from engine.study.design import Design
from engine.study.label_scores import QUERY, RANDOM, LabelScores, Point
from engine.study.labels import Amount, Curve, Gain, Savings, label_savings, label_worth, resampled
from engine.study.replicates import Part, lesion_weights
from engine.types import FloatArray

FIGURE: Final = "malignant.auc"
_BLOCK_ELEMENTS: Final = 2_000_000
Points = tuple[Point, ...]
"""(round, arm) of each point of a curve."""
Drawn = Mapping[Point, tuple[float, Floats]]
"""Of each (round, arm) of a run, the malignant AUC on the whole test part, and in draws of its lesions."""


@dataclass(frozen=True, kw_only=True)
class LabelCurves:
    """Curves of the arms that bought labels, and what `real` and `hard` reach in the last round as curves of one point.

    ``images`` is the number of synthetic images that ``hard`` trained on, ``crossed`` whether replicates are drawn too.
    """

    design: Design
    curves: Mapping[str, Curve]
    levels: Mapping[str, Curve]
    images: float
    crossed: bool

    def savings(self) -> tuple[Savings, ...]:
        """Return the label savings of the query policy, () where one of the two arms is missing or undefined."""
        if QUERY not in self.curves or RANDOM not in self.curves:
            return ()
        return label_savings(self.curves[QUERY], self.curves[RANDOM], crossed=self.crossed)

    def worth(self) -> tuple[Amount | None, str]:
        """Return what one label is worth in synthetic images at equal gain over `real`, or (None, why not)."""
        missing = [arm for arm in (START, ENGINE) if arm not in self.levels]
        missing += [] if QUERY in self.curves else [QUERY]
        if missing:
            return None, f"the last round has not trained {' and '.join(missing)}"
        query, real, hard = self.curves[QUERY], self.levels[START], self.levels[ENGINE]
        drawn = [drawn_BP[:, -1] for drawn_BP in resampled([query, real, hard], crossed=self.crossed)]
        label, image = (
            Gain(value=float(arm.mean_P[-1] - real.mean_P[-1]), drawn_B=drawn_B - drawn[1], units=units)
            for arm, drawn_B, units in (
                (query, drawn[0], float(query.asked_P[-1])),
                (hard, drawn[2], self.images),
            )
        )
        return label_worth(label, image)


def label_curves(
    runs: Sequence[LabelScores], design: Design, *, draws: int, seed: int = 0
) -> LabelCurves | None:
    """Return the curves over the replicates of a design; None where no arm bought labels in all runs.

    Raises:
        DataError: an arm lacks a round of a curve in one of the runs.
    """
    last = runs[0].last
    points = {arm: _points(runs, arm) for arm in ARMS}
    every = {arm: found for arm, found in points.items() if len(found) > 1}
    every = {arm: found for arm, found in every.items() if arm not in (QUERY, RANDOM) or found[-1][0] == last}
    if not every:
        return None
    levels = {arm: ((last, arm),) for arm in (START, ENGINE) if all((last, arm) in run.score for run in runs)}
    wanted = list(dict.fromkeys(point for found in (*every.values(), *levels.values()) for point in found))
    drawn = [_drawn(run, wanted, draws, seed) for run in runs]
    return LabelCurves(
        design=design,
        curves={arm: _curve(arm, found, runs, design, drawn) for arm, found in every.items()},
        levels={arm: _curve(arm, found, runs, design, drawn) for arm, found in levels.items()},
        images=float(np.mean([run.images for run in runs])),
        crossed=design.kind == "shared test",
    )


def level(runs: Sequence[LabelScores], design: Design, arm: str, *, draws: int, seed: int = 0) -> Curve:
    """Return what an arm reached in the last round of ``hard``, as a curve of one point, by the draws of ``label_curves``.

    Raises:
        DataError: a run has not trained it then.
    """
    points = ((runs[0].last, arm),)
    return _curve(arm, points, runs, design, [_drawn(run, points, draws, seed) for run in runs])


def malignant_auc(
    part: Part, columns: Sequence[int], seeds: Sequence[FloatArray], draws: int, seed: int
) -> tuple[float, Floats]:
    """Return the mean over classifier seeds of the malignant AUC on test, and in each draw of lesions, (B,).

    The draws are those of ``engine.study.replicates.arm_figures``.

    Args:
        part: the test part.
        columns: positions of the malignant classes.
        seeds: each classifier seed's malignant score (N,); none: NaN is returned.
        draws: B.
        seed: of the draws.
    """
    if not seeds:
        return float("nan"), np.full(draws, np.nan)
    truth_N = np.isin(part.label_N, columns)
    index_N = np.unique(part.group_N, return_inverse=True)[1]
    weights_BG = np.vstack([lesion_weights(part, "test", count, seed) for count in (None, draws)])
    block = max(1, _BLOCK_ELEMENTS // max(1, len(truth_N)))
    starts = range(0, len(weights_BG), block)
    found = [
        np.concatenate(
            [area_under_roc(weights_BG[i : i + block][:, index_N], score_N, truth_N) for i in starts]
        )
        for score_N in seeds
    ]
    mean = np.mean(found, axis=0)
    return float(mean[0]), mean[1:]


def _points(runs: Sequence[LabelScores], arm: str) -> Points:
    """The rounds in which an arm had bought labels in every run, round 0 of the common start first."""
    start = ((0, START),) if all((0, START) in run.score for run in runs) else ()
    return (
        *start,
        *((number, arm) for number in sorted(set.intersection(*(run.rounds(arm) for run in runs)))),
    )


def _drawn(run: LabelScores, wanted: Sequence[Point], draws: int, seed: int) -> Drawn:
    lost = [arm_label(*point) for point in wanted if point not in run.score]
    if lost:
        raise DataError(f"{run.replicate.name}: has no predictions of {lost[0]}; rerun `hardcase run`")
    part, columns = run.replicate.test, run.replicate.malignant_columns
    return {point: malignant_auc(part, columns, run.score[point], draws, seed) for point in wanted}


def _curve(
    arm: str,
    points: Points,
    runs: Sequence[LabelScores],
    design: Design,
    drawn: Sequence[Drawn],
) -> Curve:
    """One arm's curve, the runs of a replicate averaged."""
    value = np.array([[found[point][0] for point in points] for found in drawn])
    many = np.array([np.column_stack([found[point][1] for point in points]) for found in drawn])
    counts = [[run.asked[point] for point in points] for run in runs]
    return Curve(
        arm=arm,
        asked_P=np.mean(counts, axis=0),
        value_RP=np.array([value[list(rows)].mean(axis=0) for rows in design.groups]),
        drawn_RBP=np.array([many[list(rows)].mean(axis=0) for rows in design.groups]),
    )
