"""Did an arm gain over another? Differences paired within a replicate, with the two sources of chance kept apart.

A replicate is one training set (or one fold) on which every arm was trained. Chance comes from which training sets were
drawn and from which lesions are in the test set; an interval that knows one of them alone is too narrow. Where replicates
share one test set, both are resampled, crossed; in cross-validation lesions are resampled within folds. Beside each stands a
t interval over replicates; the wider of the two is the headline.

Shape legend: R replicates, B bootstrap draws, N images, K clusters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from engine.evaluation.statistics import LEVEL
from engine.types import BoolArray, FloatArray, StrArray

Floats = npt.NDArray[np.float64]
FEWEST_REPLICATES = 5
"""With fewer training sets nothing is claimed: five signs cannot reach 5 % in a two-sided test, fewer even less."""


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


def paired_t(difference_R: Floats) -> Difference:
    """Paired t over replicates: mean +- t (R - 1 degrees of freedom) s / sqrt(R).

    Raises:
        ValueError: fewer than two replicates.
    """
    return _t_interval(difference_R, 1.0 / len(difference_R), "paired t over training sets")


def corrected_resampled_t(difference_R: Floats, n_train: float, n_test: float) -> Difference:
    """Corrected resampled t for cross-validation (Nadeau and Bengio 2003, Sec. 4): variance s^2 (1 / R + n_test / n_train).

    Folds share training data, so their differences are correlated and a plain t interval is too narrow.
    """
    return _t_interval(difference_R, 1.0 / len(difference_R) + n_test / n_train, "corrected resampled t")


def _t_interval(difference_R: Floats, share: float, method: str) -> Difference:
    count = len(difference_R)
    if count < 2:
        raise ValueError(f"{method} needs two replicates or more, got {count}")
    mean = float(np.mean(difference_R))
    error = math.sqrt(float(np.var(difference_R, ddof=1)) * share)
    half = float(stats.t.ppf(0.5 + LEVEL / 2, count - 1)) * error
    p_value = (
        float(2 * stats.t.sf(abs(mean) / error, count - 1)) if error > 0 else (1.0 if mean == 0 else 0.0)
    )
    return Difference(value=mean, low=mean - half, high=mean + half, p_value=p_value, method=method)


def crossed_bootstrap(value_R: Floats, drawn_RB: Floats, rng: np.random.Generator) -> Difference:
    """Resample training sets and lesions independently (Owen 2007): for replicates that share one test set.

    Args:
        value_R: difference of each replicate on the whole test set.
        drawn_RB: the same in B draws of lesions, draw b being the same lesions for every replicate and both arms.
        rng: draws the replicates.

    Resampling both counts what belongs to a pair (training set, lesion) three times over (Owen 2007, Theorem 1). With the
    variances V_L and V_R of resampling lesions and replicates alone, the right variance is 2 (V_L + V_R) - V_both, and the
    draws are scaled to it (it is never taken for less than the larger of V_L and V_R).

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
    return _percentile(mean, scaled_B, "crossed bootstrap of training sets and lesions")


def fold_bootstrap(value_R: Floats, drawn_RB: Floats) -> Difference:
    """Resample lesions within folds, both arms together: for cross-validation, where each fold has its own test lesions."""
    mean = float(np.mean(value_R))
    mean_B = drawn_RB.mean(axis=0)
    return _percentile(mean, mean + mean_B - mean_B.mean(), "bootstrap of lesions within folds")


def _percentile(value: float, drawn_B: Floats, method: str) -> Difference:
    tail = 50.0 * (1.0 - LEVEL)
    low, high = np.percentile(drawn_B, [tail, 100.0 - tail])
    beyond = min(np.mean(drawn_B <= 0), np.mean(drawn_B >= 0))
    p_value = min(1.0, 2.0 * (float(beyond) * len(drawn_B) + 1) / (len(drawn_B) + 1))
    return Difference(value=value, low=float(low), high=float(high), p_value=p_value, method=method)


def headline(first: Difference, second: Difference) -> Difference:
    """Return the wider of two intervals."""
    return first if first.width >= second.width else second


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return Holm's adjusted p values (Holm 1979) by name: they hold the chance of any false claim at the level."""
    names = sorted(p_values, key=lambda name: (p_values[name], name))
    adjusted, largest = {}, 0.0
    for rank, name in enumerate(names):
        largest = max(largest, min(1.0, (len(names) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def holm_intervals(differences: Mapping[str, Difference]) -> dict[str, Difference]:
    """Widen t intervals to Bonferroni's level for as many contrasts: simultaneous, and no narrower than Holm's decisions.

    An interval's half-width is multiplied by the ratio of the normal quantiles at LEVEL / m and at LEVEL.
    """
    count = len(differences)
    ratio = (
        float(stats.norm.ppf(1 - (1 - LEVEL) / 2 / count) / stats.norm.ppf(0.5 + LEVEL / 2)) if count else 1.0
    )
    return {
        name: Difference(
            value=d.value,
            low=d.value - ratio * (d.value - d.low),
            high=d.value + ratio * (d.high - d.value),
            p_value=d.p_value,
            method=f"{d.method}, {count} contrasts",
        )
        for name, d in differences.items()
    }


def mcnemar_clustered(correct_N: BoolArray, reference_N: BoolArray, lesion_id: StrArray) -> float | None:
    """Two-sided p of McNemar's test for paired clustered data (Durkalski et al. 2003); None where nothing differs.

    A lesion's photographs succeed or fail together: it contributes (gains - losses) / images, and
    (sum of contributions)^2 / sum of their squares is chi-squared with one degree of freedom.
    """
    names, cluster_N = np.unique(lesion_id, return_inverse=True)
    difference_N = correct_N.astype(np.float64) - reference_N.astype(np.float64)
    mean_K = np.bincount(cluster_N, weights=difference_N, minlength=len(names)) / np.bincount(cluster_N)
    spread = float((mean_K**2).sum())
    return float(stats.chi2.sf(float(mean_K.sum()) ** 2 / spread, 1)) if spread > 0 else None


def delong_clustered(
    score_N: FloatArray, reference_N: FloatArray, positive_N: BoolArray, lesion_id: StrArray
) -> Difference:
    """Difference of two ROC areas on the same clustered images (Obuchowski 1997; DeLong et al. 1988 without clusters).

    Args:
        score_N: the arm's scores.
        reference_N: the baseline's, on the same images.
        positive_N: the truth.
        lesion_id: cluster of each image; a lesion is of one class.

    Raises:
        ValueError: there is no positive or no negative image.
    """
    if not positive_N.any() or positive_N.all():
        raise ValueError("an ROC area needs positive and negative images")
    parts = [_placements(scores, positive_N) for scores in (score_N, reference_N)]
    area, other = (float(placed[positive_N].mean()) for placed in parts)
    variance = 0.0
    for side in (positive_N, ~positive_N):
        _, cluster = np.unique(lesion_id[side], return_inverse=True)
        count = int(cluster.max()) + 1
        difference = (parts[0] - parts[1])[side] - (area - other)
        sums_K = np.bincount(cluster, weights=difference)
        variance += (
            count / (count - 1) * float((sums_K**2).sum()) / side.sum() ** 2 if count > 1 else math.inf
        )
    error = math.sqrt(variance)
    half = float(stats.norm.ppf(0.5 + LEVEL / 2)) * error
    value = area - other
    p_value = float(2 * stats.norm.sf(abs(value) / error)) if error > 0 else (1.0 if value == 0 else 0.0)
    return Difference(
        value=value, low=value - half, high=value + half, p_value=p_value, method="clustered DeLong"
    )


def _placements(score_N: FloatArray, positive_N: BoolArray) -> Floats:
    """For each image the share of the other side's images that it outranks as it should, ties counting half."""
    scores = np.asarray(score_N, dtype=np.float64)
    positive, negative = np.sort(scores[positive_N]), np.sort(scores[~positive_N])
    placed = np.empty(len(scores))
    for side, others, sign in ((positive_N, negative, 1), (~positive_N, positive, -1)):
        below = np.searchsorted(others, scores[side], side="left") / len(others)
        at_most = np.searchsorted(others, scores[side], side="right") / len(others)
        share = (below + at_most) / 2
        placed[side] = share if sign > 0 else 1.0 - share
    return placed


Verdict = Literal["helped", "hurt", "not shown"]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the one-sentence answer is read from: headline differences of the primary endpoint, and what must not suffer."""

    protocol: str
    replicates: int
    against_real: Difference
    against_random: Difference
    specificity: Difference
    melanoma_sensitivity: Difference | None
    margin: float = 0.02


def verdict(evidence: Evidence) -> tuple[Verdict, str]:
    """Return helped, hurt or not shown, and why.

    Helped: a safe protocol, FEWEST_REPLICATES training sets or more, both intervals above 0, and specificity and melanoma
    sensitivity not worse by more than ``margin`` (lower end of their intervals). Hurt: the interval against real lies below
    0 under the same protocol and replicates. Everything else is not shown.
    """
    if evidence.protocol != "safe":
        return "not shown", f"the protocol is {evidence.protocol}"
    if evidence.replicates < FEWEST_REPLICATES:
        return (
            "not shown",
            f"{evidence.replicates} training sets; {FEWEST_REPLICATES} are the fewest for a claim",
        )
    if evidence.against_real.high < 0:
        return "hurt", "the interval against real lies below 0"
    doubts: Sequence[tuple[bool, str]] = (
        (evidence.against_real.low > 0, "the interval against real holds 0"),
        (evidence.against_random.low > 0, "the interval against random synthesis holds 0"),
        (evidence.specificity.low > -evidence.margin, "specificity may have fallen by more than the margin"),
        (
            evidence.melanoma_sensitivity is None or evidence.melanoma_sensitivity.low > -evidence.margin,
            "melanoma sensitivity may have fallen by more than the margin",
        ),
    )
    why = [text for holds, text in doubts if not holds]
    return (
        ("not shown", "; ".join(why))
        if why
        else ("helped", "both intervals lie above 0, nothing else suffered")
    )
