"""The power of a finished study: its components of chance, what it could have shown, and what an effect needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from engine.arms import CONFIRMATORY, ENGINE
from engine.errors import DataError
from engine.evaluation.statistics import LEVEL
from engine.study.comparison import simultaneous_level
from engine.study.components import Components, cells_of, components_of
from engine.study.design import Design, find_design
from engine.study.power import POWER, Plan, detectable, noise_of, plans_around, power, sets_needed
from engine.study.replicates import Figures, Replicate, seed_figures

SEEDS: Final = (1, 2, 3, 5)
"""Classifier seeds per training set for which plans are sought."""
MULTIPLES: Final = (1.0, 2.0, 4.0)
"""Multiples of the finished study's test lesions for which plans are sought."""


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """How many training sets in all show the effect with this many seeds and test lesions; None: too many."""

    seeds: int
    lesions: float
    training_sets: int | None

    def to_json(self) -> dict[str, Any]:
        """Return the plain JSON object."""
        return {"seeds": self.seeds, "test_lesions": round(self.lesions), "training_sets": self.training_sets}


@dataclass(frozen=True, kw_only=True)
class PowerRow:
    """One figure, hard minus one baseline.

    Attributes:
        figure: its dotted name.
        baseline: the arm.
        level: coverage of the interval that decides: the whole family's for confirmatory contrasts.
        components: where chance comes from.
        detectable: the smallest difference that the finished study shows at 80 % power; None: it has too few replicates for
            a claim.
        power: the finished study's power for the effect asked about.
        plans: how many training sets that effect needs.
    """

    figure: str
    baseline: str
    level: float
    components: Components
    detectable: float | None
    power: float
    plans: tuple[PlanRow, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the plain JSON object."""
        return {
            **vars(self),
            "components": self.components.to_json(),
            "plans": [plan.to_json() for plan in self.plans],
        }


@dataclass(frozen=True, kw_only=True)
class PowerStudy:
    """The power of a finished study for one effect; ``untested`` arms trained on the same images as hard."""

    design: Design
    finished: Plan
    effect: float
    family: int
    rows: tuple[PowerRow, ...]
    untested: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the plain JSON object: variances in the figure's units squared."""
        plan = self.finished
        return {
            "design": {
                "kind": self.design.kind,
                "unit": self.design.unit,
                "replicates": plan.replicates,
                "training_sets": plan.training_sets,
                "seeds": plan.seeds,
                "test_lesions": plan.lesions,
            },
            "effect": self.effect,
            "power": POWER,
            "family": self.family,
            "untested": list(self.untested),
            "rows": [row.to_json() for row in self.rows],
        }


def power_study(
    runs: Sequence[Replicate], *, draws: int, effect: float, seed: int = 0, design: Design | None = None
) -> PowerStudy:
    """Return the power of the study that the runs make, for its endpoints against real and the confirmatory baselines.

    Args:
        runs: replicates of one study, with arm hard.
        draws: bootstrap draws of lesions.
        effect: size of the true difference that is asked about, in the figures' units.
        seed: of the draws.
        design: how the runs make a study; None: as they tell.

    Raises:
        DataError: the runs make no study, have one training set alone, or no endpoint is defined in any of them.
    """
    design = design or find_design(runs)
    plan = finished_plan(runs, design)
    arms = [arm for arm in runs[0].arms if all(arm in run.arms for run in runs)]
    references = frozenset().union(*(run.references for run in runs))
    planned = [arm for arm in arms if arm in CONFIRMATORY and arm not in references]
    wanted = [arm for arm in arms if arm == "real" or arm in planned]
    untested = tuple(arm for arm in wanted if all(run.same_pool(ENGINE, arm) for run in runs))
    endpoints = runs[0].endpoints.primary
    family = len(planned) * len(endpoints)
    asked = _Asked(runs=runs, design=design, plan=plan, effect=effect, draws=draws, seed=seed)
    ours = asked.figures(ENGINE) if ENGINE in arms else []
    rows: list[PowerRow] = []
    for arm in wanted:
        if arm in untested or not ours:
            continue
        theirs = asked.figures(arm)
        level = simultaneous_level(family) if arm in planned else LEVEL
        found = [asked.row(figure, arm, level, ours, theirs) for figure in endpoints]
        rows += [row for row in found if row is not None]
    if not rows and untested:
        raise DataError(
            f"power: hard trained on the same images as {', '.join(untested)}: nothing was tested; give runs in which "
            "synthetic images were accepted"
        )
    if not rows:
        raise DataError(
            f"power: {', '.join(endpoints)} of hard minus another arm cannot be computed in these runs; give runs with arm "
            "real or random whose test part holds every class that the figure needs, or name another with --figure"
        )
    rows.sort(key=lambda row: endpoints.index(row.figure))
    return PowerStudy(
        design=design,
        finished=plan,
        effect=effect,
        family=family,
        rows=tuple(rows),
        untested=untested,
    )


def finished_plan(runs: Sequence[Replicate], design: Design) -> Plan:
    """Return the size of the study that the runs make.

    Raises:
        DataError: fewer than two training sets.
    """
    sets = len({run.lesions("train") for run in runs})
    if sets < 2 or design.replicates < 2:
        what = "one run" if len(runs) == 1 else f"{len(runs)} runs of one training set"
        raise DataError(
            f"power: {what}: how much training sets differ cannot be told; give finished runs of two training sets or more "
            "(data.split.train_sets.use, or data.split.folds.use)"
        )
    cells = sum(max(len(run.test.seeds(arm)) for arm in run.arms) for run in runs)
    supposed = design.supposed
    in_common, cap = (design.in_common, design.cap) if supposed is None else (1.0, supposed)
    return Plan(
        replicates=design.replicates,
        sets=max(1, round(sets / design.replicates)),
        seeds=max(1, round(cells / sets)),
        lesions=design.n_test,
        shared=design.kind == "shared test",
        in_common=in_common,
        cap=cap,
    )


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """What the rows have in common."""

    runs: Sequence[Replicate]
    design: Design
    plan: Plan
    effect: float
    draws: int
    seed: int

    def figures(self, arm: str) -> list[list[Figures]]:
        """Return each run's figures of each classifier seed of an arm."""
        return [seed_figures(run, arm, self.draws, self.seed) for run in self.runs]

    def row(
        self,
        figure: str,
        baseline: str,
        level: float,
        ours: Sequence[Sequence[Figures]],
        theirs: Sequence[Sequence[Figures]],
    ) -> PowerRow | None:
        """Return one row, None where the figure is undefined in a run."""
        cells = cells_of(self.runs, self.design, ours, theirs, figure)
        if cells is None:
            return None
        components = components_of(cells)
        noise = noise_of(components, self.plan.lesions, self.plan)
        return PowerRow(
            figure=figure,
            baseline=baseline,
            level=level,
            components=components,
            detectable=detectable(noise, self.plan, level),
            power=power(self.effect, noise, self.plan, level),
            plans=tuple(self._plans(components, level)),
        )

    def _plans(self, components: Components, level: float) -> list[PlanRow]:
        """One seed alone tells nothing of more: then only the number of lesions is varied."""
        seeds = SEEDS if components.seeds is not None else (self.plan.seeds,)
        return [
            PlanRow(
                seeds=plan.seeds,
                lesions=plan.lesions,
                training_sets=sets_needed(self.effect, components, self.plan.lesions, plan, level),
            )
            for plan in plans_around(self.plan, seeds, MULTIPLES)
        ]


def as_planned_on(runs: Sequence[Replicate], figure: str) -> list[Replicate]:
    """Return the runs as if their study had been planned on one figure."""
    return [replace(run, endpoints=replace(run.endpoints, primary=(figure,))) for run in runs]
