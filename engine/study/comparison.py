"""Did an arm gain over another? Differences paired within a replicate, with the two sources of chance kept apart.

A replicate is one training set (or one fold) on which every arm was trained. Chance comes from which training sets were
drawn and from which lesions are in the test set; an interval that knows one of them alone is too narrow. Where replicates
share one test set, both are resampled, crossed; in cross-validation lesions are resampled within folds. Beside each stands a
t interval over replicates; the outer ends of the two are the headline.

Shape legend: R replicates, B bootstrap draws, N images, K clusters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from engine.evaluation.statistics import LEVEL

Floats = npt.NDArray[np.float64]
FEWEST_REPLICATES = 5
"""With fewer training sets nothing is claimed: five signs cannot reach 5 % in a two-sided test, fewer even less."""
DRAWS_BEYOND = 10
"""Draws that must lie beyond each end of a bootstrap interval: with fewer its ends are single draws."""


def too_few_replicates(count: int, unit: str) -> str:
    """Say that so many replicates are too few for a claim; "" where they are enough."""
    if count >= FEWEST_REPLICATES:
        return ""
    return f"{count} {unit}{'' if count == 1 else 's'}; {FEWEST_REPLICATES} are the fewest for a claim"


def too_few_draws(count: int, level: float) -> str:
    """Say that so many bootstrap draws are too few for an interval at this level; "" where they are enough."""
    fewest = fewest_draws(level)
    if count >= fewest:
        return ""
    return f"{count} bootstrap draws; {fewest} are the fewest for an interval at {100 * level:.4g} % (evaluation.bootstrap)"


def fewest_draws(level: float) -> int:
    """Return how many draws leave DRAWS_BEYOND beyond each end of an interval."""
    return math.ceil(round(2 * DRAWS_BEYOND / (1.0 - level), 6))


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Arm minus baseline: the estimate, an interval and a two-sided p value (None where undefined), and the method."""

    value: float
    low: float
    high: float
    p_value: float | None
    method: str

    @property
    def width(self) -> float:
        """Width of the interval."""
        return self.high - self.low


def paired_t(difference_R: Floats, level: float = LEVEL, *, unit: str = "training sets") -> Difference:
    """Paired t over replicates: mean +- t (R - 1 degrees of freedom) s / sqrt(R); ``unit`` names them.

    Raises:
        ValueError: fewer than two replicates.
    """
    return _t_interval(difference_R, 0.0, f"paired t over {unit}", level)


def corrected_t(
    difference_R: Floats, correlation: float, level: float = LEVEL, *, method: str = "corrected t over folds"
) -> Difference:
    """Student's t over replicates whose differences correlate by rho: variance s^2 (1 / R + rho / (1 - rho)).

    What replicates have in common does not show in s^2. With rho = n_test / (n_test + n_train) it is the corrected resampled
    t (Nadeau and Bengio 2003, Sec. 4), with 0 the paired t. ``correlation`` is rho: ``engine.study.design``.

    Raises:
        ValueError: fewer than two replicates.
    """
    if correlation == 0.0:
        return paired_t(difference_R, level, unit="folds")
    return _t_interval(difference_R, correlation / (1.0 - correlation), method, level)


def _t_interval(difference_R: Floats, added: float, method: str, level: float) -> Difference:
    """The variance of the mean is s^2 (1 / R + ``added``)."""
    count = len(difference_R)
    if count < 2:
        raise ValueError(f"{method} needs two replicates or more, got {count}")
    mean = float(np.mean(difference_R))
    error = math.sqrt(float(np.var(difference_R, ddof=1)) * (1.0 / count + added))
    half = float(stats.t.ppf(0.5 + level / 2, count - 1)) * error
    p_value = (
        float(2 * stats.t.sf(abs(mean) / error, count - 1)) if error > 0 else (1.0 if mean == 0 else 0.0)
    )
    return Difference(value=mean, low=mean - half, high=mean + half, p_value=p_value, method=method)


def crossed_bootstrap(
    value_R: Floats,
    drawn_RB: Floats,
    rng: np.random.Generator,
    level: float = LEVEL,
    *,
    unit: str = "training sets",
) -> Difference:
    """Resample training sets and lesions independently (Owen 2007): for replicates that share one test set.

    Args:
        value_R: difference of each replicate on the whole test set.
        drawn_RB: the same in B draws of lesions, draw b being the same lesions for every replicate and both arms.
        rng: draws the replicates.
        level: coverage of the interval.
        unit: what a replicate is, for the method's name.

    Resampling both counts what belongs to a pair (training set, lesion) three times (Owen 2007, Theorem 1). With V_L and V_R
    of resampling lesions and replicates alone, the right variance is 2 (V_L + V_R) - V_both, never counted as less than the
    larger of V_L and V_R; the draws are scaled to it.

    Raises:
        ValueError: fewer than two replicates.
    """
    count, draws = drawn_RB.shape
    if count < 2:
        raise ValueError(f"crossed bootstrap needs two replicates or more, got {count}")
    mean = float(np.mean(value_R))
    chosen_BR = rng.integers(0, count, size=(draws, count))
    mean_B = drawn_RB[chosen_BR, np.arange(draws)[:, None]].mean(axis=1)
    lesions = float(np.var(drawn_RB.mean(axis=0)))
    replicates = float(np.var(value_R, ddof=1)) / count
    both = float(np.var(mean_B))
    wanted = max(2 * (lesions + replicates) - both, lesions, replicates)
    scaled_B = mean + (mean_B - mean_B.mean()) * (math.sqrt(wanted / both) if both > 0 else 1.0)
    return _percentile(mean, scaled_B, f"crossed bootstrap of {unit} and lesions", level)


def fold_bootstrap(value_R: Floats, drawn_RB: Floats, level: float = LEVEL) -> Difference:
    """Resample lesions within folds, both arms together: for cross-validation, where each fold has its own test lesions."""
    mean = float(np.mean(value_R))
    mean_B = drawn_RB.mean(axis=0)
    method = "bootstrap of lesions within folds" if len(value_R) > 1 else "bootstrap of lesions"
    return _percentile(mean, mean + mean_B - mean_B.mean(), method, level)


def _percentile(value: float, drawn_B: Floats, method: str, level: float) -> Difference:
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(drawn_B, [tail, 100.0 - tail])
    beyond = min(np.mean(drawn_B <= 0), np.mean(drawn_B >= 0))
    p_value = min(1.0, 2.0 * (float(beyond) * len(drawn_B) + 1) / (len(drawn_B) + 1))
    return Difference(value=value, low=float(low), high=float(high), p_value=p_value, method=method)


def headline(first: Difference, second: Difference) -> Difference:
    """Return one interval from the lower of two lower ends to the higher of two upper ends, with the larger p value.

    It excludes 0 where both do, as ``simultaneous_level`` and the power of a study take it. The wider of the two is not
    enough: a skewed bootstrap that is wider to one side may exclude 0 while the t interval holds it. The method is that of
    the interval that has both ends, or both methods.
    """
    low, high = min(first.low, second.low), max(first.high, second.high)
    known = [d.p_value for d in (first, second) if d.p_value is not None]
    whole = [d for d in (first, second) if (d.low, d.high) == (low, high)]
    return Difference(
        value=first.value,
        low=low,
        high=high,
        p_value=max(known) if known else None,
        method=whole[0].method if whole else f"outer ends of {first.method} and {second.method}",
    )


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return Holm's adjusted p values (Holm 1979) by name: they hold the chance of any false claim at the level."""
    names = sorted(p_values, key=lambda name: (p_values[name], name))
    adjusted, largest = {}, 0.0
    for rank, name in enumerate(names):
        largest = max(largest, min(1.0, (len(names) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def simultaneous_level(contrasts: int) -> float:
    """Return Bonferroni's level: intervals that all hold together at LEVEL, and claim no more than Holm's p values."""
    return 1.0 - (1.0 - LEVEL) / max(1, contrasts)
