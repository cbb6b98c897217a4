"""How large a study must be to show a difference, and what a finished one could have shown.

It is the power of the study's own rule: FEWEST_REPLICATES replicates are there, and a difference is shown where both
intervals of its design lie on the better side of 0 (``engine.study.contrasts``), at the level that holds for the whole
family. The mean difference is taken as normal around the true one, with the variance that the components give; the variance
between replicates that the t interval and the crossed bootstrap see scatters around its expectation as chi-squared with
R - 1 degrees of freedom, independent of the mean.

Symbols: R replicates, J training sets per replicate (1 where all share a test part), Z classifier seeds per training set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from scipy import optimize, stats

from engine.study.comparison import FEWEST_REPLICATES
from engine.study.components import Components

POWER: Final = 0.80
"""The chance with which a study should show a difference that is there."""
MOST: Final = 200
"""Training sets beyond which a plan is not sought."""
_POINTS: Final = 400


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The size of a study.

    Attributes:
        replicates: training sets that share one test part, or folds.
        sets: training sets per replicate; 1 for a shared test part.
        seeds: classifier seeds per training set.
        lesions: test lesions (of a fold, where replicates are folds).
        shared: whether all replicates share one test part.
        in_common, cap: of two folds, as in ``engine.study.design.Design``; the smaller one is their correlation.
    """

    replicates: int
    sets: int = 1
    seeds: int = 1
    lesions: float
    shared: bool = True
    in_common: float = 0.0
    cap: float = 0.0

    @property
    def share(self) -> float:
        """Variance of a mean over replicates as a share of that between them, as ``corrected_t`` takes it."""
        correlation = min(self.in_common, self.cap)
        return 1.0 / self.replicates + correlation / (1.0 - correlation)

    @property
    def training_sets(self) -> int:
        """Training sets in all."""
        return self.replicates * self.sets

    def with_sets(self, count: int) -> Plan:
        """Return the plan with more training sets: more replicates, or (folds stay) more sets per fold.

        The more sets a fold has, the more it shares with another one: sets of one size, drawn from the same lesions.
        """
        if self.shared:
            return replace(self, replicates=count)
        return replace(self, sets=count, in_common=min(1.0, self.in_common * count / self.sets))


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What a plan leaves to chance.

    ``between`` is the expected variance between replicates, ``own`` the part of it that lesions cause, ``common`` the
    variance that lesions add to all replicates alike.
    """

    between: float
    own: float
    common: float


def noise_of(components: Components, lesions: float, plan: Plan) -> Noise:
    """Return the variances of a plan; those that lesions cause fall with their number.

    Args:
        components: as estimated from the finished runs.
        lesions: test lesions of the finished runs.
        plan: the study that is planned.
    """
    count = plan.sets * plan.seeds
    ratio = lesions / plan.lesions
    part = (
        components.lesions
        + (plan.seeds - 1) * components.lesions_of_seeds
        + (plan.sets - 1) * plan.seeds * components.lesions_of_sets
    ) / count
    common = components.lesions_of_sets if plan.shared else 0.0
    own = ratio * max(0.0, part - common)
    training = components.training_sets / plan.sets + (components.seeds or 0.0) / count
    return Noise(between=training + own, own=own, common=ratio * max(0.0, common))


def power(effect: float, noise: Noise, plan: Plan, level: float) -> float:
    """Return the chance that a study of this plan shows a true difference of ``effect`` (a size; on the better side).

    It is 0 below FEWEST_REPLICATES: such a study claims nothing whatever it finds.
    """
    count = plan.replicates
    if count < FEWEST_REPLICATES:
        return 0.0
    scatter = stats.chi2.ppf((np.arange(_POINTS) + 0.5) / _POINTS, count - 1) / (count - 1)
    seen = noise.between * scatter
    share = plan.share
    needed = stats.t.ppf(0.5 + level / 2, count - 1) * np.sqrt(seen * share)
    if plan.shared:
        # What 2 (V_L + V_R) - V_both of the crossed bootstrap comes to, never less than V_L: a resample of R replicates
        # holds (R - 1) / R of their variance, its repeats leave (2 R - 1) / R^2 of what lesions do to a replicate alone.
        resampled = noise.common + seen * (1 / count + 1 / count**2) + noise.own / count**2
        resampled = np.maximum(resampled, noise.common + noise.own / count)
    else:
        resampled = np.full(_POINTS, noise.own / count)
    needed = np.maximum(needed, stats.norm.ppf(0.5 + level / 2) * np.sqrt(resampled))
    error = np.sqrt(noise.common + noise.between * share)
    if error == 0.0:
        return float(effect > 0)
    return float(stats.norm.cdf((effect - needed) / error).mean())


def detectable(noise: Noise, plan: Plan, level: float, wanted: float = POWER) -> float | None:
    """Return the smallest true difference that a study of this plan shows with the wanted chance; None: it shows none."""
    if plan.replicates < FEWEST_REPLICATES:
        return None
    error = float(np.sqrt(noise.common + noise.between * plan.share))
    if error == 0.0:
        return 0.0
    high = error
    while power(high, noise, plan, level) < wanted:
        high *= 2.0
    return float(optimize.brentq(lambda size: power(size, noise, plan, level) - wanted, 0.0, high, xtol=1e-9))


def sets_needed(
    effect: float, components: Components, lesions: float, plan: Plan, level: float, wanted: float = POWER
) -> int | None:
    """Return how many training sets in all show ``effect`` with the wanted chance; None: MOST are too few.

    Folds stay as many as they are: with fewer than FEWEST_REPLICATES no number of training sets shows anything.

    Args:
        effect: size of the true difference.
        components: as estimated from the finished runs.
        lesions: their test lesions.
        plan: all but the number of training sets; folds stay as many, and take several sets each.
        level: coverage of the interval that decides.
        wanted: the power.
    """
    if not plan.shared and plan.replicates < FEWEST_REPLICATES:
        return None
    least = FEWEST_REPLICATES if plan.shared else 1
    for count in range(least, MOST + 1):
        one = plan.with_sets(count)
        if one.training_sets > MOST:
            break
        if power(effect, noise_of(components, lesions, one), one, level) >= wanted:
            return one.training_sets
    return None


def plans_around(plan: Plan, seeds: tuple[int, ...], multiples: tuple[float, ...]) -> Iterator[Plan]:
    """Yield the plan with every number of seeds and every multiple of its test lesions."""
    for count in seeds:
        for multiple in multiples:
            yield replace(plan, seeds=count, lesions=multiple * plan.lesions)
