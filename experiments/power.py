"""Simulates studies with an effect that `hardcase power` calls detectable at 80 %: is it shown in 80 % of them?

usage: python -m experiments.power [--studies 400] [--draws 800] [--designs shared folds] [--name power]

The variances of training sets, classifier seeds and lesions are planted in the log loss of every image: each photograph's
probability of the true class is made from them. So the true components and the true effect are known exactly, and all that
follows is the study's own code (`make_study`: two endpoints in the family, bootstrap of lesions, t, the outer ends of
both at the family's level). The effect is the one that `engine.study.power.detectable` returns for the planted components.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from engine.study.comparison import simultaneous_level
from engine.study.components import Components, cells_of, components_of
from engine.study.contrasts import make_study
from engine.study.design import find_design
from engine.study.power import POWER, Plan, detectable, noise_of, power
from engine.study.replicates import Endpoints, Part, Replicate, seed_figures
from engine.types import strings
from experiments.lib.keeping import provenance, save, script, this_command

FIGURE = "log_loss"
ENDPOINTS = (FIGURE, "malignant.auc")
BASELINE = "random"
LEVEL = simultaneous_level(len(ENDPOINTS))
"""One confirmatory baseline, two endpoints."""
ESTIMATED = 60
"""Studies whose components are estimated too; the estimates are means and quantiles over them."""
BASE = 2.0
"""Log loss of the baseline, far enough from 0 that no image's loss comes near it."""


@dataclass(frozen=True, kw_only=True)
class Planted:
    """Standard deviations in the difference of log loss, and the size of the study.

    ``lesion`` is what a lesion adds in every cell, ``lesion_set`` in every seed of one training set, ``rest`` in one cell
    alone; ``plan`` counts test lesions per fold where replicates are folds.
    """

    training_set: float = 0.03
    seed: float = 0.04
    lesion: float = 0.15
    lesion_set: float = 0.20
    rest: float = 0.20
    plan: Plan

    @property
    def components(self) -> Components:
        """The variances that are planted, as ``components_of`` estimates them."""
        of_sets = self.lesion**2
        of_seeds = of_sets + self.lesion_set**2
        return Components(
            difference=0.0,
            training_sets=self.training_set**2,
            seeds=self.seed**2,
            lesions=(of_seeds + self.rest**2) / self.plan.lesions,
            lesions_of_seeds=of_seeds / self.plan.lesions,
            lesions_of_sets=of_sets / self.plan.lesions,
        )


DESIGNS = {
    "shared": Planted(plan=Plan(replicates=8, seeds=2, lesions=120)),
    "folds": Planted(plan=Plan(replicates=5, sets=2, seeds=2, lesions=80, shared=False)),
}


def main() -> None:
    """Simulate the designs asked for and save the share of studies that show the effect."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--draws", type=int, default=800)
    parser.add_argument("--designs", nargs="+", default=list(DESIGNS), choices=list(DESIGNS))
    parser.add_argument("--name", default="power")
    arguments = parser.parse_args()
    start = time.monotonic()
    rows: dict[str, Any] = {}
    for name in arguments.designs:
        rows[name] = simulate(DESIGNS[name], arguments.studies, arguments.draws, seed=0)
        print(f"{name}: {rows[name]['shown']}, {time.monotonic() - start:.0f} s")
    result = {
        **provenance(this_command()),
        "seeds": [0],
        "studies": arguments.studies,
        "draws": arguments.draws,
        "power": POWER,
        "level": LEVEL,
        "seconds": round(time.monotonic() - start, 1),
        "designs": rows,
    }
    print(save(arguments.name, result))


def simulate(planted: Planted, studies: int, draws: int, *, seed: int) -> dict[str, Any]:
    """Return how often the detectable effect is shown, beside the components planted and estimated.

    ``detectable`` of the estimates is the quantile over the first studies: what one finished study would have been told.
    """
    noise = noise_of(planted.components, planted.plan.lesions, planted.plan)
    effect = detectable(noise, planted.plan, LEVEL)
    if effect is None:
        raise ValueError(f"{planted.plan.replicates} replicates can show nothing")
    shown = 0
    estimated: list[Components] = []
    for number in range(studies):
        runs = study(planted, effect, np.random.default_rng([seed, number]))
        contrast = make_study(runs, draws=draws, seed=number).contrast(FIGURE, BASELINE)
        shown += contrast is not None and contrast.claim == "better"
        if number < ESTIMATED:
            estimated.append(estimate(runs, draws, number))
    told = [
        detectable(noise_of(c, planted.plan.lesions, planted.plan), planted.plan, LEVEL) for c in estimated
    ]
    parts = ("training_sets", "seeds", "lesions", "lesions_of_seeds", "lesions_of_sets")
    return {
        "plan": vars(planted.plan),
        "effect": effect,
        "power_of_half_the_effect": power(effect / 2, noise, planted.plan, LEVEL),
        "shown": share(shown, studies),
        "difference": float(np.mean([c.difference for c in estimated])),
        "planted": {name: getattr(planted.components, name) for name in parts},
        "estimated": {name: float(np.mean([getattr(c, name) for c in estimated])) for name in parts},
        "detectable": {f"{q:.0%}": float(np.quantile(told, q)) for q in (0.05, 0.5, 0.95)},
    }


def share(count: int, total: int) -> dict[str, float]:
    """Return {value, low, high}: a share with Wilson's 95 % interval (Wilson 1927)."""
    found = stats.binomtest(count, total).proportion_ci(0.95, method="wilson")
    return {"value": count / total, "low": float(found.low), "high": float(found.high)}


def estimate(runs: list[Replicate], draws: int, seed: int) -> Components:
    """Return the components as `hardcase power` estimates them; the baseline is the same in every seed."""
    ours = [seed_figures(run, "hard", draws, seed) for run in runs]
    theirs = [
        seed_figures(run, BASELINE, draws, seed) * len(many) for run, many in zip(runs, ours, strict=True)
    ]
    cells = cells_of(runs, find_design(runs), ours, theirs, FIGURE)
    assert cells is not None, "log loss is always defined"
    return components_of(cells)


def study(planted: Planted, effect: float, rng: np.random.Generator) -> list[Replicate]:
    """Return a study's runs, one per training set; hard's log loss is lower than the baseline's by ``effect`` on average."""
    runs = []
    plan = planted.plan
    count = int(plan.lesions)
    lesion_N = rng.normal(0, planted.lesion, count)
    base_N = BASE + rng.normal(0, 0.2, count)
    for replicate in range(plan.replicates):
        if not plan.shared:
            lesion_N = rng.normal(0, planted.lesion, count)
        for number in range(plan.sets):
            of_set_N = (
                lesion_N + rng.normal(0, planted.lesion_set, count) + rng.normal(0, planted.training_set)
            )
            losses = [
                base_N - effect + of_set_N + rng.normal(0, planted.seed) + rng.normal(0, planted.rest, count)
                for _ in range(plan.seeds)
            ]
            fold = 0 if plan.shared else replicate
            runs.append(run_of(f"set {replicate} {number}", fold, base_N, losses, plan))
    return runs


def run_of(name: str, fold: int, base_N: Any, losses: list[Any], plan: Plan) -> Replicate:
    """Return one run: the baseline, and hard with one classifier per entry of ``losses``; one image per test lesion."""
    count = len(base_N)
    label_N = (np.arange(count) % 3 != 0).astype(np.int64)
    first, *further = [probabilities(loss_N, label_N) for loss_N in losses]
    ids = strings([f"fold {fold} lesion {n:04d}" for n in range(count)])
    test = Part(
        image_id=ids,
        lesion_id=ids,
        group_N=ids,
        label_N=label_N,
        prob={BASELINE: probabilities(base_N, label_N), "hard": first},
        further={"hard": further},
    )
    few = np.arange(count) < 12
    val = replace(test, lesion_id=strings([f"val {n}" for n in ids])).take(few)
    every = {
        f"fold {k} lesion {n:04d}" for k in range(1 if plan.shared else plan.replicates) for n in range(count)
    }
    parts = {"train": {f"train of {name}"}, "test": set(ids.tolist()), "pool": every - set(ids.tolist())}
    return Replicate(
        name=name,
        seed=0,
        protocol="safe",
        classes=("mel", "nv"),
        endpoints=Endpoints(malignant=("mel",), primary=ENDPOINTS),
        parts={part: frozenset(lesions) for part, lesions in parts.items()},
        val=val,
        test=test,
    )


def probabilities(loss_N: Any, label_N: Any) -> Any:
    """Return (N, 2) probabilities whose log loss is ``loss_N``."""
    true_N = np.exp(-loss_N)
    prob = np.empty((len(label_N), 2))
    rows = np.arange(len(label_N))
    prob[rows, label_N], prob[rows, 1 - label_N] = true_N, 1 - true_N
    return prob


if __name__ == "__main__":
    script(main)
