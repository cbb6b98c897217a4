"""Which pairs of images share enough like keypoints to be worth verifying: each keypoint votes for its nearest ones' images.

Descriptors of all images stand in one index: projected on their principal components, in inverted lists, product-quantized
to 4 bits (faiss's fast scan, after Andre, Kermarrec and Le Scouarnec, VLDB 2015). A neighbour's vote is
1 - d / d_last, where d_last is the squared distance of the last neighbour found: what chance gives.

Shape legend: N images, X descriptors of all, D components, J neighbours, P pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import numpy.typing as npt

from engine.data.duplicates.candidates import ranks
from engine.data.duplicates.keypoints import Keypoints, Pixels, unit
from engine.types import IntArray

SEARCHED = 200
"""Keypoints of an image that are searched for, the strongest."""
FEW_IMAGES = 24
"""Up to so many images all pairs are candidates."""
FEW = 20_000
"""Up to so many descriptors they are compared one by one."""
COMPONENTS = 64
PER_LIST = 730
PROBED = 6
TRAINED_ON = 100_000
ROUNDS = 8
NEIGHBOURS = 16
NEARER = 0.8
"""A neighbour votes when its squared distance is under this share of the last one's."""
KEPT = 40
"""Candidates kept of each image."""
BLOCK = 20_000

Float32 = npt.NDArray[np.float32]
Progress = Callable[[str, int, int], None]


def candidate_pairs(keypoints: Keypoints, group_N: IntArray, threads: int, progress: Progress) -> IntArray:
    """Return pairs (P, 2) of rows of different groups (first < second, ascending): the KEPT most voted of either image.

    Which pairs these are depends on the order of images (the index is trained on a sample), but not on ``threads``.
    """
    count = len(keypoints)
    if count <= FEW_IMAGES:
        pairs = np.stack(np.triu_indices(count, 1), axis=1).astype(np.int64)
        return np.asarray(pairs[group_N[pairs[:, 0]] != group_N[pairs[:, 1]]])
    used_N = np.minimum(keypoints.count_N, SEARCHED)
    image_X = np.repeat(np.arange(count), used_N)
    if len(image_X) <= NEIGHBOURS:
        return np.empty((0, 2), np.int64)
    described_XD = np.concatenate([keypoints.descriptor_NKD[row, :used] for row, used in enumerate(used_N)])
    key, vote = [], []
    for found_key, found_vote in _votes(described_XD, image_X, group_N, threads, progress):
        key.append(found_key)
        vote.append(found_vote)
    pair, place = np.unique(np.concatenate(key), return_inverse=True)
    pairs = np.stack([pair // count, pair % count], axis=1)
    votes_P = np.bincount(place, np.concatenate(vote).astype(np.float64), len(pair)).astype(np.float64)
    return pairs[(ranks(pairs, -votes_P, count) < KEPT).any(axis=1)]


def _votes(
    described_XD: Pixels, image_X: IntArray, group_N: IntArray, threads: int, progress: Progress
) -> Iterator[tuple[IntArray, Float32]]:
    """Yield, block by block, the pairs voted for (first row * N + second row) and the votes."""
    index = _Index(described_XD)
    count, near = len(group_N), min(NEIGHBOURS, len(image_X))

    def search(start: int) -> tuple[IntArray, Float32]:
        distance_XJ, row_XJ = index.search(described_XD[start : start + BLOCK], near)
        found_XJ = row_XJ >= 0
        last_X1 = np.where(found_XJ, distance_XJ, 0.0).max(axis=1, keepdims=True)
        image_XJ = image_X[np.maximum(row_XJ, 0)]
        own_X = image_X[start : start + BLOCK]
        voting = found_XJ & (group_N[image_XJ] != group_N[own_X][:, None]) & (distance_XJ < NEARER * last_X1)
        at, column = np.nonzero(voting)
        one, two = own_X[at], image_XJ[at, column]
        vote = 1.0 - distance_XJ[at, column] / last_X1[at, 0]
        return np.minimum(one, two) * count + np.maximum(one, two), np.asarray(vote, np.float32)

    with ThreadPoolExecutor(max(threads, 1)) as pool:
        for block, found in enumerate(pool.map(search, range(0, len(image_X), BLOCK))):
            progress("lesion candidates", min((block + 1) * BLOCK, len(image_X)), len(image_X))
            yield found


class _Index:
    """Finds the nearest of X descriptors, given as RootSIFT times 255; compared one by one where there are FEW."""

    def __init__(self, described_XD: Pixels) -> None:
        faiss.omp_set_num_threads(1)  # sums of k-means depend on how many threads share them
        self._middle_D: Float32 | None = None
        if len(described_XD) <= FEW:
            self._index: faiss.Index = faiss.IndexFlatL2(described_XD.shape[1])
        else:
            sample = np.random.default_rng(0).permutation(len(described_XD))[:TRAINED_ON]
            unit_XD = unit(described_XD[sample])
            self._middle_D, self._axes = unit_XD.mean(axis=0), _components(unit_XD)
            self._coarse = faiss.IndexFlatL2(COMPONENTS)  # kept alive: faiss does not hold it
            lists = max(len(described_XD) // PER_LIST, 1)
            self._index = faiss.IndexIVFPQFastScan(self._coarse, COMPONENTS, lists, COMPONENTS // 2, 4)
            self._index.cp.niter, self._index.cp.min_points_per_centroid = ROUNDS, 1  # else faiss warns
            self._index.nprobe = PROBED
            self._index.train(self._projected(described_XD[sample]))
        for start in range(0, len(described_XD), BLOCK):
            self._index.add(self._projected(described_XD[start : start + BLOCK]))

    def search(self, described_XD: Pixels, near: int) -> tuple[Float32, IntArray]:
        """Return squared distances and rows (X, near) of the nearest, -1 where there are fewer; for any thread."""
        faiss.omp_set_num_threads(1)  # of this thread alone
        distance_XJ, row_XJ = self._index.search(self._projected(described_XD), near)
        return distance_XJ, row_XJ

    def _projected(self, described_XD: Pixels) -> Float32:
        unit_XD = unit(described_XD)
        return (
            unit_XD
            if self._middle_D is None
            else np.ascontiguousarray((unit_XD - self._middle_D) @ self._axes)
        )


def _components(unit_XD: Float32) -> Float32:
    """Return the projection (D, COMPONENTS) on the strongest principal components."""
    _, axes = np.linalg.eigh(np.cov(unit_XD.T))
    return np.asarray(axes[:, : -1 - COMPONENTS : -1], dtype=np.float32)
