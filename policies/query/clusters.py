"""Clusters of labelled images and candidates together, and how typical a candidate is of its own.

Legend: N unlabelled candidates, M labelled images, J clusters, F features, K neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from engine.types import BoolArray, FloatArray, IntArray
from policies.mining import Scores
from policies.query.distances import Rows, chunks, single, squared_lengths

if TYPE_CHECKING:
    from sklearn.cluster import MiniBatchKMeans

SMALL: Final = 5
"""Images up to which a cluster is small, as in TypiClust's code."""
FITTED: Final = 50_000
"""Images at random on which the centres of the clusters are fitted; all are then assigned."""
BATCH: Final = 1024
"""Images of a step of mini-batch k-means."""
COMPARED: Final = 4096
"""Candidates at random of a larger cluster among which neighbours are looked for, so that no cluster costs its square."""
SMALLEST_DISTANCE: Final = 1e-5
"""Added to a mean distance before it is inverted, as in TypiClust's code."""


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """The cluster of each candidate, and the images, labelled or not, and labelled ones in each cluster."""

    cluster_N: IntArray
    size_J: IntArray
    labelled_J: IntArray

    @property
    def small_J(self) -> BoolArray:
        """Whether a cluster is too small to be a part of the data."""
        return self.size_J <= SMALL


def cluster(feature_NF: FloatArray, labelled_MF: FloatArray, most: int, rng: np.random.Generator) -> Clusters:
    """Cut candidates and labelled images into at most ``most`` clusters by mini-batch k-means (Sculley 2010)."""
    from sklearn.cluster import (
        MiniBatchKMeans,
    )

    seed, total = int(rng.integers(2**31)), len(feature_NF) + len(labelled_MF)
    drawn = np.sort(rng.choice(total, min(total, FITTED), replace=False))
    if total == 0 or most <= 1:
        cluster_N, of_labelled_M = np.zeros(len(feature_NF), np.int64), np.zeros(len(labelled_MF), np.int64)
    else:
        ours = drawn[drawn < len(feature_NF)]
        theirs = drawn[len(ours) :] - len(feature_NF)
        sample = np.concatenate([unit(feature_NF[ours]), unit(labelled_MF[theirs])])
        first_JF = starts(sample, min(most, len(sample)), rng)
        centres = MiniBatchKMeans(len(first_JF), init=first_JF, batch_size=BATCH, n_init=1, random_state=seed)
        centres.fit(sample)
        cluster_N, of_labelled_M = (assigned(centres, rows) for rows in (feature_NF, labelled_MF))
    length = 1 + max([int(found.max()) for found in (cluster_N, of_labelled_M) if len(found)], default=0)
    labelled_J = np.bincount(of_labelled_M, minlength=length)
    return Clusters(
        cluster_N=cluster_N,
        size_J=np.bincount(cluster_N, minlength=length) + labelled_J,
        labelled_J=labelled_J,
    )


def starts(sample: Rows, count: int, rng: np.random.Generator) -> Rows:
    """Return the rows from which k-means starts, (count, F), by k-means++ (Arthur and Vassilvitskii 2007) on some of them.

    In float64 and with one trial per start: MiniBatchKMeans by itself takes eight, in chunks of float32, and ten times
    as long as for all the rest.
    """
    from sklearn.cluster import kmeans_plusplus

    some = np.sort(rng.choice(len(sample), min(len(sample), 3 * max(BATCH, count)), replace=False))
    points = sample[some].astype(np.float64)
    found, _ = kmeans_plusplus(points, count, n_local_trials=1, random_state=int(rng.integers(2**31)))
    return single(found)


def assigned(centres: MiniBatchKMeans, feature_NF: FloatArray) -> IntArray:
    """Return the cluster of each row, (N,)."""
    found = [centres.predict(unit(feature_NF[part])) for part in chunks(len(feature_NF))]
    return np.concatenate(found).astype(np.int64) if found else np.zeros(0, dtype=np.int64)


def typicality(
    feature_NF: FloatArray, cluster_N: IntArray, group_N: IntArray, neighbours: int, rng: np.random.Generator
) -> Scores:
    """Return the inverse mean distance of each candidate to its nearest ones of the same cluster and other groups, (N,).

    There are at most ``neighbours`` of them, and in a small cluster half its candidates, as in TypiClust's code; features
    have length 1. A candidate with no other group in its cluster has 0.
    """
    value_N = np.zeros(len(feature_NF))
    in_order = np.argsort(cluster_N, kind="stable")
    for members in np.split(in_order, np.cumsum(np.bincount(cluster_N))[:-1] if len(cluster_N) else []):
        others = members
        if len(members) > COMPARED:
            others = np.sort(rng.choice(members, COMPARED, replace=False))
        count = max(1, min(neighbours, len(others) // 2))
        points_KF = unit(feature_NF[others])
        for part in chunks(len(members)):
            rows = members[part]
            square_NK = 2.0 - 2.0 * (unit(feature_NF[rows]) @ points_KF.T)
            square_NK[group_N[rows][:, None] == group_N[others]] = np.inf
            value_N[rows] = inverse_mean_distance(square_NK, count)
    return value_N


def inverse_mean_distance(square_NK: Rows, count: int) -> Scores:
    """Return 1 / (mean of the ``count`` smallest distances + 1e-5) from squared ones; infinite ones are none, (N,)."""
    if square_NK.shape[1] == 0:
        return np.zeros(len(square_NK))
    least_NK = np.partition(square_NK, count - 1, axis=1)[:, :count].astype(np.float64)
    there_NK = np.isfinite(least_NK)
    distance_NK = np.sqrt(np.where(there_NK, np.maximum(least_NK, 0.0), 0.0))
    found_N = there_NK.sum(axis=1)
    mean_N = distance_NK.sum(axis=1) / np.maximum(found_N, 1)
    return np.asarray(np.where(found_N > 0, 1.0 / (mean_N + SMALLEST_DISTANCE), 0.0))


def unit(feature_NF: FloatArray) -> Rows:
    """Return rows divided by their lengths; a row of zeros stays."""
    length_N = np.sqrt(squared_lengths(feature_NF))
    return np.asarray(single(feature_NF) / np.where(length_N > 0, length_N, 1.0)[:, None], dtype=np.float32)
