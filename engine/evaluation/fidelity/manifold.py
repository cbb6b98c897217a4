"""Is each synthetic image among the real ones, and is each real one among the synthetic? k-nearest-neighbour manifolds.

Shape legend: R real images, S synthetic images, F feature width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import pairwise_distances

from engine.types import FloatArray

Array = npt.NDArray[np.float64]

NEIGHBOURS = 5
"""k of Naeem et al. 2020; Kynkaanniemi et al. 2019 use 3 with sets of 50,000."""


@dataclass(frozen=True, kw_only=True)
class Manifold:
    """What each image contributes, so that means are the figures and can be resampled.

    ``precise_S``: 1 where the sample lies in the real manifold; its mean is precision. ``density_S``: in how many real
    balls the sample lies, over k; its mean is density. ``recalled_R``: 1 where the real image lies in the synthetic
    manifold; mean: recall. ``covered_R``: 1 where some sample lies in the real image's ball; mean: coverage.
    """

    precise_S: Array
    density_S: Array
    recalled_R: Array
    covered_R: Array


def manifold(real_RF: FloatArray, synthetic_SF: FloatArray, k: int = NEIGHBOURS) -> Manifold | None:
    """Return precision and recall (Kynkaanniemi et al. 2019) and density and coverage (Naeem et al. 2020) by image.

    A manifold is the union of balls around its images, each as wide as the distance to the image's k-th nearest
    neighbour in its own set. None where a set holds k images or fewer.
    """
    if min(len(real_RF), len(synthetic_SF)) <= k:
        return None
    radius_R, radius_S = _radii(real_RF, k), _radii(synthetic_SF, k)
    distance_RS = pairwise_distances(np.asarray(real_RF, np.float64), np.asarray(synthetic_SF, np.float64))
    inside_real_RS = distance_RS <= radius_R[:, None]
    return Manifold(
        precise_S=inside_real_RS.any(axis=0).astype(np.float64),
        density_S=inside_real_RS.sum(axis=0) / k,
        recalled_R=(distance_RS <= radius_S[None, :]).any(axis=1).astype(np.float64),
        covered_R=inside_real_RS.any(axis=1).astype(np.float64),
    )


def _radii(rows: FloatArray, k: int) -> Array:
    """Distance of each row to its k-th nearest other row."""
    distances = pairwise_distances(np.asarray(rows, dtype=np.float64))
    np.fill_diagonal(distances, -1.0)  # itself comes first, whatever rounding says
    return np.asarray(np.partition(distances, k, axis=1)[:, k])


def inception_score(prob_SC: FloatArray, weight_S: Array | None = None) -> float:
    """Return IS = exp(E KL(p(y|x) || p(y))), from 1 to the number of classes (Salimans et al. 2016).

    It rewards confident and various labels and knows no real image: it cannot see copies, and a class that looks wrong
    but is recognised counts in full. ``weight_S``: how often each image counts (default once).
    """
    prob = np.clip(np.asarray(prob_SC, dtype=np.float64), 1e-12, 1.0)
    weight = np.ones(len(prob)) if weight_S is None else weight_S
    share = weight / weight.sum()
    marginal_C = share @ prob
    divergence_S = (prob * (np.log(prob) - np.log(marginal_C))).sum(axis=1)
    return float(np.exp(share @ divergence_S))
