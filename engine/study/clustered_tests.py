"""Tests of two classifiers on one test set, adjusted for several photographs of one lesion or patient: McNemar and DeLong.

They see one pair of trained classifiers and know nothing of training: exploratory, never the headline.

Shape legend: N images, K groups (clusters).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import stats

from engine.evaluation.statistics import LEVEL
from engine.study.comparison import Difference
from engine.types import BoolArray, FloatArray, StrArray

Floats = npt.NDArray[np.float64]


def mcnemar_clustered(correct_N: BoolArray, reference_N: BoolArray, group_N: StrArray) -> float | None:
    """Two-sided p of McNemar's test for paired clustered data (Durkalski et al. 2003); None where nothing differs.

    A group's photographs succeed or fail together: it contributes (gains - losses) / images, and
    (sum of contributions)^2 / sum of their squares is chi-squared with one degree of freedom.
    """
    names, cluster_N = np.unique(group_N, return_inverse=True)
    difference_N = correct_N.astype(np.float64) - reference_N.astype(np.float64)
    mean_K = np.bincount(cluster_N, weights=difference_N, minlength=len(names)) / np.bincount(cluster_N)
    spread = float((mean_K**2).sum())
    return float(stats.chi2.sf(float(mean_K.sum()) ** 2 / spread, 1)) if spread > 0 else None


def delong_clustered(
    score_N: FloatArray, reference_N: FloatArray, positive_N: BoolArray, group_N: StrArray
) -> Difference:
    """Difference of two ROC areas on the same clustered images (Obuchowski 1997; DeLong et al. 1988 without clusters).

    Args:
        score_N: the arm's scores.
        reference_N: the baseline's, on the same images.
        positive_N: the truth.
        group_N: group of each image; it may hold both kinds (a patient with several lesions).

    Raises:
        ValueError: there is no positive or no negative image.
    """
    if not positive_N.any() or positive_N.all():
        raise ValueError("an ROC area needs positive and negative images")
    parts = [_placements(scores, positive_N) for scores in (score_N, reference_N)]
    area, other = (float(placed[positive_N].mean()) for placed in parts)
    error = math.sqrt(_variance(parts[0] - parts[1] - (area - other), positive_N, group_N))
    half = float(stats.norm.ppf(0.5 + LEVEL / 2)) * error
    value = area - other
    p_value = float(2 * stats.norm.sf(abs(value) / error)) if error > 0 else (1.0 if value == 0 else 0.0)
    return Difference(
        value=value, low=value - half, high=value + half, p_value=p_value, method="clustered DeLong"
    )


def _variance(deviation_N: Floats, positive_N: BoolArray, group_N: StrArray) -> float:
    """Obuchowski's variance: of positive and negative images' sums by group, and their covariance in groups of both."""
    names, cluster_N = np.unique(group_N, return_inverse=True)
    variance, sums = 0.0, []
    for side in (positive_N, ~positive_N):
        count = len(np.unique(cluster_N[side]))
        sums_K = np.bincount(cluster_N[side], weights=deviation_N[side], minlength=len(names)) / side.sum()
        sums.append(sums_K)
        variance += count / (count - 1) * float((sums_K**2).sum()) if count > 1 else math.inf
    both = 2 * len(names) / (len(names) - 1) * float((sums[0] * sums[1]).sum()) if len(names) > 1 else 0.0
    return max(variance + both, 0.0)


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
