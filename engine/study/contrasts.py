"""A study: the hard arm against every other arm over replicates, which difference is a claim, and the answer.

The study's endpoints (``Endpoints.primary``) are the primary figure and its co-primary ones. Holm's family holds every pair
of a confirmatory baseline and an endpoint. An arm that trained on the same images as hard is not compared with it. It counts
in the family, so that a run in which nothing was accepted makes no other claim easier.

Each contrast has two intervals. Their outer ends are its headline, which excludes 0 where both do: crossed bootstrap and
paired t where replicates share one test set; bootstrap of lesions within folds and a t over folds, corrected for training
lesions that they share, in cross-validation. One run has the bootstrap alone.

Shape legend: R replicates, B bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from engine.arms import ARMS, CONFIRMATORY, ENGINE, HEADLINE
from engine.evaluation import figures
from engine.evaluation.figures import figure_words
from engine.evaluation.metrics import Floats
from engine.evaluation.statistics import LEVEL
from engine.study import comparison as compare
from engine.study.answer import Answer, answer
from engine.study.comparison import Difference, too_few_replicates
from engine.study.design import Design, find_design
from engine.study.design_intervals import headline_of, intervals
from engine.study.evidence import evidence_of, generator_caveat
from engine.study.lesions import Behind, behind, why_untold
from engine.study.paired_tests import paired_tests
from engine.study.pools import unmatched
from engine.study.replicates import FIRST_PRIMARY, Figures, Replicate, arm_figures, mean_figures
from engine.study.verdict import GUARDS, Evidence, gain

ARM = ENGINE
PRIMARY = FIRST_PRIMARY[0]
"""The primary endpoint of the published studies; a study's own is ``Study.primary``."""
FIGURES: Final[Mapping[str, str]] = {name: figure_words(name) for name in figures.FIGURES}
"""Figures that are compared, with their words; sensitivity of each class comes on top."""

Role = Literal["primary", "co-primary", "guard", "confirmatory", "exploratory"]
Claim = Literal["better", "worse", "not shown", ""]


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Hard minus one baseline in one figure.

    ``difference`` is the headline, the outer ends of ``procedures``; ``values`` are the replicates' own. Confirmatory
    contrasts have Holm's ``adjusted_p``, the ``adjusted`` interval that holds for the whole family, and the ``claim`` read
    from it. ``lesions`` is what the figure rests on, ``draws`` how many bootstrap draws define it. ``reason`` says why
    nothing is claimed whatever the interval holds, or what stands beside a claim; "" where the interval decides alone.
    """

    figure: str
    baseline: str
    role: Role
    difference: Difference
    procedures: tuple[Difference, ...]
    values: tuple[float, ...]
    adjusted_p: float | None = None
    adjusted: Difference | None = None
    claim: Claim = ""
    lesions: Behind
    draws: int
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Design, every arm's figures in every replicate (NaN where undefined), contrasts, and what the answer is read from.

    ``paired_tests`` are those of each run's two classifiers, hard and real, of the first seed. ``untested`` names the arms
    that trained on the same images as hard in every run: they have no contrast.
    """

    design: Design
    runs: tuple[Replicate, ...]
    draws: int
    arms: Mapping[str, Mapping[str, Floats]]
    contrasts: tuple[Contrast, ...]
    paired_tests: tuple[Mapping[str, float | None] | None, ...]
    evidence: Evidence
    untested: tuple[str, ...] = ()

    @property
    def answer(self) -> Answer:
        """The answer in one sentence."""
        return answer(self.evidence)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The figures that the study was planned on: the primary one, then the co-primary ones."""
        return self.runs[0].endpoints.primary

    @property
    def primary(self) -> str:
        """The primary endpoint."""
        return self.endpoints[0]

    @property
    def family(self) -> tuple[Contrast, ...]:
        """The confirmatory contrasts, which Holm's procedure adjusts together."""
        return tuple(contrast for contrast in self.contrasts if contrast.role == "confirmatory")

    def contrast(self, figure: str, baseline: str) -> Contrast | None:
        """Return one contrast, None where it cannot be computed."""
        return next((c for c in self.contrasts if (c.figure, c.baseline) == (figure, baseline)), None)


def make_study(
    runs: Sequence[Replicate], *, draws: int, seed: int = 0, objection: str = "", design: Design | None = None
) -> Study:
    """Compare arms over the runs; DataError where they make no study (see ``find_design``).

    ``objection`` is a flaw that the runs themselves do not show and that forbids a claim: a protocol's unfinished study.
    ``design`` says how the runs make a study, where a protocol says something else than the runs tell.
    """
    design = design or find_design(runs)
    design = replace(design, objection=design.objection or objection)
    arms = [arm for arm in runs[0].arms if all(arm in run.arms for run in runs)]
    found = {arm: _over_replicates(runs, design, arm, draws, seed) for arm in arms}
    untested = tuple(arm for arm in arms if arm != ARM and all(run.same_pool(ARM, arm) for run in runs))
    maker = _Contrasts(
        design=design,
        endpoints=runs[0].endpoints.primary,
        figures=found,
        untested=untested,
        seed=seed,
        safe=runs[0].protocol == "safe",
        references=frozenset().union(*(run.references for run in runs)),
        runs=runs,
    )
    contrasts = tuple(maker.all(runs[0].classes)) if ARM in arms else ()
    point = {
        arm: {name: np.array([f.point[name] for f in many]) for name in many[0].point}
        for arm, many in found.items()
    }
    found_by_pair = {(c.figure, c.baseline): c.difference for c in contrasts}
    known_draws = {
        c.figure: c.draws for c in sorted(contrasts, key=lambda c: -c.draws) if c.baseline in HEADLINE
    }
    return Study(
        design=design,
        runs=tuple(runs),
        draws=draws,
        arms=point,
        contrasts=contrasts,
        paired_tests=tuple(paired_tests(run, ARM, "real") for run in runs),
        evidence=evidence_of(runs, design, arms, found_by_pair, untested, known_draws),
        untested=untested,
    )


def _over_replicates(
    runs: Sequence[Replicate], design: Design, arm: str, draws: int, seed: int
) -> list[Figures]:
    """One arm's figures per replicate: the mean of its runs, in every draw."""
    found = [arm_figures(run, arm, draws, seed) for run in runs]
    return [mean_figures([found[row] for row in rows]) for rows in design.groups]


@dataclass(frozen=True, kw_only=True)
class _Contrasts:
    """Makes contrasts from every arm's figures per replicate."""

    design: Design
    endpoints: tuple[str, ...]
    figures: Mapping[str, Sequence[Figures]]
    untested: tuple[str, ...]
    seed: int
    safe: bool
    references: frozenset[str]
    runs: Sequence[Replicate]

    def all(self, classes: Sequence[str]) -> list[Contrast]:
        """Every figure against every baseline; sensitivity by class against real and random."""
        others = [arm for arm in self.figures if arm != ARM and arm not in self.untested]
        wanted = [(figure, arm) for figure in FIGURES for arm in others]
        wanted += [
            (f"per_class.{dx}.sensitivity", arm) for dx in classes for arm in HEADLINE if arm in others
        ]
        adjusted = self._family()
        made = [self._contrast(figure, arm, adjusted) for figure, arm in wanted]
        return [contrast for contrast in made if contrast is not None]

    def _family(self) -> dict[tuple[str, str], float]:
        """Holm's p by (figure, baseline) of the whole family; where nothing was tested p is 1."""
        p_values: dict[str, float] = {}
        pairs: dict[str, tuple[str, str]] = {}
        for figure in self.endpoints:
            for arm in self.figures:
                if arm == ARM or self._role(figure, arm) != "confirmatory":
                    continue
                procedures = () if arm in self.untested else self._procedures(figure, arm, LEVEL)
                if not procedures and arm not in self.untested:
                    continue
                p = headline_of(procedures).p_value if procedures else None
                name = f"{arm} {figure}"
                pairs[name], p_values[name] = (figure, arm), 1.0 if p is None else p
        return {pairs[name]: p for name, p in compare.holm(p_values).items()}

    def _contrast(
        self, figure: str, baseline: str, adjusted: Mapping[tuple[str, str], float]
    ) -> Contrast | None:
        values = self._values(figure, baseline)
        if values is None:
            return None
        procedures = self._procedures(figure, baseline, LEVEL)
        role = self._role(figure, baseline)
        wide = None
        if role == "confirmatory":
            level = compare.simultaneous_level(len(adjusted))
            wide = headline_of(self._procedures(figure, baseline, level))
        lesions = behind(self.runs, figure)
        claim: Claim = ""
        reason = ""
        if wide is not None:
            untold = why_untold(wide, figure, lesions, values[1].shape[1], level)
            claim, reason = self._claim(figure, wide, untold, adjusted[figure, baseline])
            if claim == "better":
                claim, reason = self._against(baseline)
        return Contrast(
            figure=figure,
            baseline=baseline,
            role=role,
            difference=headline_of(procedures),
            procedures=procedures,
            values=tuple(values[0].tolist()),
            adjusted_p=adjusted.get((figure, baseline)) if wide is not None else None,
            adjusted=wide,
            claim=claim,
            lesions=lesions,
            draws=values[1].shape[1],
            reason=reason,
        )

    def _role(self, figure: str, baseline: str) -> Role:
        if figure in self.endpoints and baseline == "real":
            return "primary" if figure == self.endpoints[0] else "co-primary"
        if figure in self.endpoints and baseline in CONFIRMATORY and baseline not in self.references:
            return "confirmatory"
        return "guard" if figure in GUARDS and baseline == "real" else "exploratory"

    def _claim(self, figure: str, wide: Difference, untold: str, holm_p: float) -> tuple[Claim, str]:
        """What is claimed, and why nothing is whatever the interval holds."""
        if reason := self._barred() or untold:
            return "not shown", reason
        low, high = gain(wide, figure)
        if low <= 0 <= high:
            return "not shown", ""
        if holm_p >= round(1.0 - LEVEL, 9):
            return "not shown", f"Holm's p is {holm_p:.3f}"
        return "better" if low > 0 else "worse", ""

    def _against(self, baseline: str) -> tuple[Claim, str]:
        """What a gain over an arm claims: nothing where that arm's synthetic images are not as many as those of hard."""
        if ARMS[baseline].makes_images and ARMS[baseline].matched == "class":
            unequal = unmatched([run.added for run in self.runs], ARM, baseline)
            if unequal:
                return "not shown", unequal
        return "better", generator_caveat(self.runs)

    def _barred(self) -> str:
        """Why the study may claim nothing; "" where it may."""
        if not self.safe:
            return "the protocol is not safe"
        if self.design.objection:
            return self.design.objection
        return too_few_replicates(self.design.replicates, self.design.unit)

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
        return () if found is None else intervals(*found, self.design, self.seed, level)
