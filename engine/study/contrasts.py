"""A study: the hard arm against every other arm over replicates, which difference is a claim, and the answer.

Each contrast has two intervals and the wider is its headline: crossed bootstrap and paired t where replicates share one
test set; bootstrap of lesions within folds and corrected resampled t in cross-validation. One run has the bootstrap alone.

Shape legend: R replicates, B bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from engine.arms import CONFIRMATORY, ENGINE, HEADLINE
from engine.evaluation.metrics import Floats
from engine.evaluation.statistics import LEVEL
from engine.study import comparison as compare
from engine.study.answer import Answer, answer
from engine.study.comparison import FEWEST_REPLICATES, Difference, Evidence
from engine.study.design import Design, find_design
from engine.study.paired_tests import paired_tests
from engine.study.replicates import Figures, Replicate, arm_figures

ARM = ENGINE
PRIMARY = "malignant.sensitivity"
GUARDS = ("malignant.specificity", "melanoma.sensitivity")
FIGURES: Final[Mapping[str, str]] = {
    PRIMARY: "Malignant sensitivity",
    "malignant.specificity": "Malignant specificity",
    "melanoma.sensitivity": "Melanoma sensitivity",
    "melanoma.specificity": "Melanoma specificity",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "auc": "AUC, mean over classes",
    "malignant.auc": "Malignant AUC",
    "ece": "Calibration error (lower is better)",
}
"""Figures that are compared, with their words; sensitivity of each class comes on top."""

Role = Literal["primary", "guard", "confirmatory", "exploratory"]


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Hard minus one baseline in one figure.

    ``difference`` is the headline, the wider of ``procedures``; ``values`` are the replicates' own. Confirmatory contrasts
    have Holm's ``adjusted_p``, the ``adjusted`` interval that holds for the whole family, and the ``claim`` read from it.
    """

    figure: str
    baseline: str
    role: Role
    difference: Difference
    procedures: tuple[Difference, ...]
    values: tuple[float, ...]
    adjusted_p: float | None = None
    adjusted: Difference | None = None
    claim: Literal["better", "worse", "not shown", ""] = ""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Design, the figures of every arm in every replicate (NaN where undefined), contrasts and the answer.

    ``paired_tests`` are those of each run's two classifiers, hard and real.
    """

    design: Design
    runs: tuple[Replicate, ...]
    draws: int
    arms: Mapping[str, Mapping[str, Floats]]
    contrasts: tuple[Contrast, ...]
    paired_tests: tuple[Mapping[str, float | None] | None, ...]
    answer: Answer

    def contrast(self, figure: str, baseline: str) -> Contrast | None:
        """Return one contrast, None where it cannot be computed."""
        return next((c for c in self.contrasts if (c.figure, c.baseline) == (figure, baseline)), None)


def make_study(runs: Sequence[Replicate], *, draws: int, seed: int = 0, objection: str = "") -> Study:
    """Compare arms over the runs; DataError where they make no study (see ``find_design``).

    ``objection`` is a flaw that the runs themselves do not show and that forbids a claim: a protocol's unfinished study.
    """
    design = find_design(runs)
    design = replace(design, objection=design.objection or objection)
    arms = [arm for arm in runs[0].arms if all(arm in run.arms for run in runs)]
    figures = {arm: _over_replicates(runs, design, arm, draws, seed) for arm in arms}
    maker = _Contrasts(
        design=design,
        figures=figures,
        seed=seed,
        safe=runs[0].protocol == "safe",
        references=frozenset().union(*(run.references for run in runs)),
    )
    contrasts = tuple(maker.all(runs[0].classes)) if ARM in arms else ()
    point = {
        arm: {name: np.array([f.point[name] for f in found]) for name in found[0].point}
        for arm, found in figures.items()
    }
    evidence = _evidence(runs[0], design, arms, contrasts)
    return Study(
        design=design,
        runs=tuple(runs),
        draws=draws,
        arms=point,
        contrasts=contrasts,
        paired_tests=tuple(paired_tests(run, ARM, "real") for run in runs),
        answer=answer(evidence),
    )


def _over_replicates(
    runs: Sequence[Replicate], design: Design, arm: str, draws: int, seed: int
) -> list[Figures]:
    """One arm's figures per replicate: the mean of its runs, in every draw."""
    found = [arm_figures(run, arm, draws, seed) for run in runs]
    return [
        Figures(
            point={n: float(np.mean([found[row].point[n] for row in rows])) for n in found[0].point},
            drawn={n: np.mean([found[row].drawn[n] for row in rows], axis=0) for n in found[0].drawn},
        )
        for rows in design.groups
    ]


@dataclass(frozen=True, kw_only=True)
class _Contrasts:
    """Makes contrasts from every arm's figures per replicate."""

    design: Design
    figures: Mapping[str, Sequence[Figures]]
    seed: int
    safe: bool
    references: frozenset[str]

    def all(self, classes: Sequence[str]) -> list[Contrast]:
        """Every figure against every baseline; sensitivity by class against real and random."""
        others = [arm for arm in self.figures if arm != ARM]
        wanted = [(figure, arm) for figure in FIGURES for arm in others]
        wanted += [
            (f"per_class.{dx}.sensitivity", arm) for dx in classes for arm in HEADLINE if arm in others
        ]
        family = [arm for arm in others if self._role(PRIMARY, arm) == "confirmatory"]
        found = {arm: self._procedures(PRIMARY, arm, LEVEL) for arm in family}
        p_values = {arm: _headline(procedures).p_value for arm, procedures in found.items() if procedures}
        adjusted = compare.holm({arm: 1.0 if p is None else p for arm, p in p_values.items()})
        made = [self._contrast(figure, arm, adjusted) for figure, arm in wanted]
        return [contrast for contrast in made if contrast is not None]

    def _contrast(self, figure: str, baseline: str, adjusted: Mapping[str, float]) -> Contrast | None:
        values = self._values(figure, baseline)
        if values is None:
            return None
        procedures = self._procedures(figure, baseline, LEVEL)
        role = self._role(figure, baseline)
        wide = None
        if role == "confirmatory":
            level = compare.simultaneous_level(len(adjusted))
            wide = _headline(self._procedures(figure, baseline, level))
        return Contrast(
            figure=figure,
            baseline=baseline,
            role=role,
            difference=_headline(procedures),
            procedures=procedures,
            values=tuple(values[0].tolist()),
            adjusted_p=adjusted.get(baseline) if wide is not None else None,
            adjusted=wide,
            claim=self._claim(wide) if wide is not None else "",
        )

    def _role(self, figure: str, baseline: str) -> Role:
        if figure == PRIMARY and baseline == "real":
            return "primary"
        if figure == PRIMARY and baseline in CONFIRMATORY and baseline not in self.references:
            return "confirmatory"
        return "guard" if figure in GUARDS and baseline == "real" else "exploratory"

    def _claim(self, wide: Difference) -> Literal["better", "worse", "not shown"]:
        if not self.safe or self.design.objection or self.design.replicates < FEWEST_REPLICATES:
            return "not shown"
        return "better" if wide.low > 0 else "worse" if wide.high < 0 else "not shown"

    def _values(self, figure: str, baseline: str) -> tuple[Floats, Floats] | None:
        """Differences (R,), and (R, B) in the draws that leave none undefined; None where the figure is undefined."""
        if any(figure not in f.point for arm in (ARM, baseline) for f in self.figures[arm]):
            return None
        pairs = list(zip(self.figures[ARM], self.figures[baseline], strict=True))
        value_R = np.array([ours.point[figure] - theirs.point[figure] for ours, theirs in pairs])
        drawn_RB = np.stack([ours.drawn[figure] - theirs.drawn[figure] for ours, theirs in pairs])
        known_B = np.isfinite(drawn_RB).all(axis=0)
        if not np.isfinite(value_R).all() or not known_B.any():
            return None
        return value_R, drawn_RB[:, known_B]

    def _procedures(self, figure: str, baseline: str, level: float) -> tuple[Difference, ...]:
        """Both differences of the design, () where the figure is undefined."""
        found = self._values(figure, baseline)
        if found is None:
            return ()
        value_R, drawn_RB = found
        if self.design.replicates < 2:
            return (compare.fold_bootstrap(value_R, drawn_RB, level),)
        if self.design.kind == "cross-validation":
            design = self.design
            return (
                compare.fold_bootstrap(value_R, drawn_RB, level),
                compare.corrected_resampled_t(value_R, design.n_train, design.n_test, level),
            )
        unit = f"{self.design.unit}s"
        rng = np.random.default_rng([self.seed, len(value_R)])
        return (
            compare.crossed_bootstrap(value_R, drawn_RB, rng, level, unit=unit),
            compare.paired_t(value_R, level, unit=unit),
        )


def _headline(procedures: Sequence[Difference]) -> Difference:
    return procedures[0] if len(procedures) == 1 else compare.headline(procedures[0], procedures[1])


def _evidence(run: Replicate, design: Design, arms: Sequence[str], contrasts: Sequence[Contrast]) -> Evidence:
    found = {(c.figure, c.baseline): c.difference for c in contrasts}
    missing = {arm: f"{arm} was not run" for arm in HEADLINE if arm not in arms}
    if ARM not in arms:
        missing["endpoint"] = "no round with the hard arm has finished"
    elif (PRIMARY, "real") not in found and "real" in arms:
        missing["endpoint"] = "the data names no malignant class, or val or test holds none"
    if (GUARDS[1], "real") not in found and run.endpoints.melanoma in run.classes:
        missing["melanoma"] = "melanoma sensitivity cannot be told: val or test holds too few melanomas"
    return Evidence(
        protocol=run.protocol,
        replicates=design.replicates,
        kind=design.unit,
        against_real=found.get((PRIMARY, "real")),
        against_random=found.get((PRIMARY, "random")),
        specificity=found.get((GUARDS[0], "real")),
        melanoma_sensitivity=found.get((GUARDS[1], "real")),
        missing=missing,
        objection=design.objection or None,
        operating_point=run.endpoints.specificity,
    )
