"""From run folders to learning curves over labels asked for: malignant AUC of every round of the arms that buy labels.

Predictions of each (round, arm) are read again, so that an interval draws the same test lesions in every arm and round. Runs
of one replicate and classifier seeds are averaged first, as everywhere.

Shape legend: R replicates, B bootstrap draws, P points of a curve (rounds), N images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.arms import ARMS, ENGINE, START
from engine.artifacts import predictions
from engine.artifacts.report_json import RoundEntry
from engine.artifacts.run_files import RunFiles
from engine.artifacts.run_layout import arm_label
from engine.evaluation.metrics import Floats, area_under_roc
from engine.evaluation.scoring import malignant_score
from engine.study.design import Design
from engine.study.labels import Amount, Curve, Gain, Savings, label_savings, label_worth, resampled
from engine.study.replicates import Replicate, lesion_weights
from engine.study.run_replicates import open_entries

FIGURE: Final = "malignant.auc"
RANDOM: Final = next(arm.name for arm in ARMS.values() if arm.asks == "random")
"""The arm that asks by chance."""
QUERY: Final = next(arm.name for arm in ARMS.values() if arm.asks == "policy")
"""The arm for which the query policy asks."""
_BLOCK_ELEMENTS: Final = 2_000_000
Points = tuple[tuple[int, str], ...]
"""(round, arm) of each point of a curve."""


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


def bought(runs: Sequence[RunFiles]) -> tuple[str, ...]:
    """Return the arms that have bought labels in every run, in the order of the table of arms."""
    found = [{entry.arm for entry in run.report.rounds if entry.labels is not None} for run in runs]
    return tuple(arm for arm in ARMS if all(arm in one for one in found))


def asked(entry: RoundEntry) -> int:
    """Return the labels asked for up to a (round, arm); none before an arm bought any."""
    return 0 if entry.labels is None else entry.labels.asked


def label_curves(
    runs: Sequence[RunFiles], design: Design, *, draws: int, seed: int = 0
) -> LabelCurves | None:
    """Return the curves over the replicates of a design; None where no arm bought labels, or predictions are not there.

    Raises:
        DataError: predictions are damaged, or arms predict other images.
    """
    points = {arm: _points(runs, arm) for arm in bought(runs)}
    last = runs[0].report.last_round(ENGINE)
    every: dict[str, Points] = {arm: found for arm, found in points.items() if len(found) > 1}
    if not every or last is None:
        return None
    every = {arm: found for arm, found in every.items() if arm not in (QUERY, RANDOM) or found[-1][0] == last}
    levels = {arm: ((last, arm),) for arm in (START, ENGINE) if all(r.report.entry(last, arm) for r in runs)}
    wanted = list(dict.fromkeys(point for found in (*every.values(), *levels.values()) for point in found))
    if not every or not all(_predicted(run, wanted) for run in runs):
        return None
    drawn = [_drawn(run, wanted, draws, seed) for run in runs]
    return LabelCurves(
        design=design,
        curves={arm: _curve(arm, found, runs, design, drawn) for arm, found in every.items()},
        levels={arm: _curve(arm, found, runs, design, drawn) for arm, found in levels.items()},
        images=float(np.mean([_images(run, last) for run in runs])),
        crossed=design.kind == "shared test",
    )


def level(runs: Sequence[RunFiles], design: Design, arm: str, *, draws: int, seed: int = 0) -> Curve:
    """Return what an arm reached in the last round of ``hard``, as a curve of one point, by the draws of ``label_curves``.

    Raises:
        DataError: predictions are damaged or absent.
    """
    points = ((runs[0].report.last_round(ENGINE) or 0, arm),)
    return _curve(arm, points, runs, design, [_drawn(run, points, draws, seed) for run in runs])


def _points(runs: Sequence[RunFiles], arm: str) -> Points:
    """The rounds of an arm that every run has, round 0 of the common start first."""
    rounds = [{entry.round for entry in run.report.of_arm(arm) if entry.labels is not None} for run in runs]
    start = ((0, START),) if all(run.report.entry(0, START) for run in runs) else ()
    return (*start, *((number, arm) for number in sorted(set.intersection(*rounds))))


def _predicted(run: RunFiles, wanted: Sequence[tuple[int, str]]) -> bool:
    folders = (run.layout.arm_folder(number, arm) for number, arm in wanted)
    return run.split is not None and all(predictions.SCHEMA.present(folder) for folder in folders)


def _images(run: RunFiles, number: int) -> int:
    """How many synthetic images `hard` trained on in its last round."""
    entry = run.report.entry(number, ENGINE)
    if entry is not None and entry.pool is not None:
        added: Mapping[str, int] = entry.pool.get("added") or {}
        return sum(added.values())
    return sum(one.n_accepted for one in run.report.of_arm(ENGINE) if one.round <= number)


def _drawn(
    run: RunFiles, wanted: Sequence[tuple[int, str]], draws: int, seed: int
) -> dict[tuple[int, str], tuple[float, Floats]]:
    """The malignant AUC of each (round, arm) of a run: on the whole test part, and in draws of its lesions."""
    replicate = open_entries(run, wanted)
    return {
        (number, arm): malignant_auc(replicate, arm_label(number, arm), draws, seed) for number, arm in wanted
    }


def malignant_auc(replicate: Replicate, arm: str, draws: int, seed: int) -> tuple[float, Floats]:
    """Return the mean over classifier seeds of an arm's malignant AUC on test, and in each draw of lesions, (B,).

    The draws are those of ``engine.study.replicates.arm_figures``. NaN where no class, or every one, is malignant.
    """
    columns = replicate.malignant_columns
    if not columns or len(columns) == len(replicate.classes):
        return float("nan"), np.full(draws, np.nan)
    part = replicate.test
    truth_N = np.isin(part.label_N, columns)
    index_N = np.unique(part.group_N, return_inverse=True)[1]
    weights_BG = np.vstack([lesion_weights(part, "test", count, seed) for count in (None, draws)])
    block = max(1, _BLOCK_ELEMENTS // max(1, len(truth_N)))
    found = []
    for prob_NC in part.seeds(arm):
        score_N = malignant_score(prob_NC, columns)
        starts = range(0, len(weights_BG), block)
        found.append(
            np.concatenate(
                [area_under_roc(weights_BG[i : i + block][:, index_N], score_N, truth_N) for i in starts]
            )
        )
    mean = np.mean(found, axis=0)
    return float(mean[0]), mean[1:]


def _curve(
    arm: str,
    points: Points,
    runs: Sequence[RunFiles],
    design: Design,
    drawn: Sequence[Mapping[tuple[int, str], tuple[float, Floats]]],
) -> Curve:
    """One arm's curve, the runs of a replicate averaged."""
    value = np.array([[found[point][0] for point in points] for found in drawn])
    many = np.array([np.column_stack([found[point][1] for point in points]) for found in drawn])
    entries = [[run.report.entry(*point) for point in points] for run in runs]
    counts = [[asked(entry) for entry in of_run if entry is not None] for of_run in entries]
    return Curve(
        arm=arm,
        asked_P=np.mean(counts, axis=0),
        value_RP=np.array([value[list(rows)].mean(axis=0) for rows in design.groups]),
        drawn_RBP=np.array([many[list(rows)].mean(axis=0) for rows in design.groups]),
    )
