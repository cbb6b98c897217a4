"""Which pairs of images are worth registering: nearest neighbours under the eight flips and rotations of the square.

The descriptor is the layout of light and dark on a coarse grid. What all images of a set have in common (a dark disc in
the middle) says nothing about a pair, so the grid is projected on the set's own principal components and these are made
more even. The covariance is averaged over the eight turns: a turned image then has the turned descriptor.

Shape legend: N images, P pairs, S side of the thumbnail, G side of the grid, D components, K neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import faiss
import numpy as np
import numpy.typing as npt

from engine.data.duplicates.registration import shrink
from engine.types import IntArray, StrArray

Float32 = npt.NDArray[np.float32]
Progress = Callable[[str, int, int], None]
Distances = npt.NDArray[np.floating]
Scalar = TypeVar("Scalar", bound=np.generic)

TURNS = (
    "as it is", "turned 90", "turned 180", "turned 270",
    "mirrored", "mirrored, turned 90", "mirrored, turned 180", "mirrored, turned 270",
)  # fmt: skip
"""The flips and rotations of the square: mirrored left to right first, then turned counter-clockwise, degrees."""
INVERSE = np.array([0, 3, 2, 1, 4, 5, 6, 7])
"""The turn that undoes each (a mirrored one undoes itself)."""
GRID = 16
COMPONENTS = 64
FLOOR = 1e-3
"""Variance, as a share of the strongest component's, below which a component counts as noise."""
EVENING = 0.7
"""Power of a component's spread by which it is divided: 1 makes all components equally strong, 0 leaves them as they are."""
SEARCHED = 16
KEPT = 12
"""Neighbours kept of each image over all turns."""


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """P pairs of rows (first < second) and the turn of the second image that brings it onto the first."""

    pairs_P2: IntArray
    turn_P: IntArray


def turned(images: npt.NDArray[Scalar], turn: int) -> npt.NDArray[Scalar]:
    """Return images (..., S, S) after a turn of TURNS; also for integer arrays."""
    flipped = images[..., ::-1] if turn >= 4 else images
    return np.rot90(flipped, turn % 4, axes=(-2, -1))


def find_candidates(grey_NSS: Float32, group_N: StrArray, progress: Progress) -> Candidates:
    """Return pairs of different groups that are among either image's KEPT nearest in any turn.

    Args:
        grey_NSS: grey thumbnails, 0-255.
        group_N: lesion ids; pairs within one are left out.
        progress: called as progress("candidates", done, total).
    """
    coarse_NGG = coarse_layout(grey_NSS)
    project = whitening(coarse_NGG)
    group = np.unique(group_N, return_inverse=True)[1]
    count = len(coarse_NGG)
    index = faiss.IndexFlatIP(project.shape[1])
    index.add(_described(coarse_NGG, project))
    similarity, neighbour = [], []
    for turn in range(len(TURNS)):
        query_ND = _described(turned(coarse_NGG, turn), project)
        found_NK, near_NK = index.search(query_ND, min(SEARCHED, count))
        similarity.append(np.where(group[near_NK] == group[:, None], -np.inf, found_NK))
        neighbour.append(near_NK)
        progress("candidates", turn + 1, len(TURNS))
    similarity_NK, neighbour_NK = np.concatenate(similarity, axis=1), np.concatenate(neighbour, axis=1)
    searched = similarity_NK.shape[1] // len(TURNS)
    best_NK = np.argsort(-similarity_NK, axis=1, kind="stable")[:, :KEPT]
    first = np.take_along_axis(neighbour_NK, best_NK, axis=1).ravel()
    second = np.repeat(np.arange(count), best_NK.shape[1])
    known = np.isfinite(np.take_along_axis(similarity_NK, best_NK, axis=1).ravel())
    return _ordered(first[known], second[known], (best_NK // searched).ravel()[known])


def coarse_layout(grey_NSS: Float32) -> Float32:
    """Return (N, G, G) mean grey of equal cells, each image with mean 0 and norm 1 (0 where it is plain)."""
    coarse_NGG = shrink(grey_NSS, min(GRID, grey_NSS.shape[1]))
    coarse_NGG -= coarse_NGG.mean(axis=(1, 2), keepdims=True)
    norm_N11 = np.linalg.norm(coarse_NGG, axis=(1, 2), keepdims=True)
    return np.asarray(coarse_NGG / np.maximum(norm_N11, 1e-3), dtype=np.float32)


def whitening(coarse_NGG: Float32) -> Float32:
    """Return the projection (G*G, D) on the strongest components of the layouts in all turns, made more even."""
    grid = coarse_NGG.shape[1]
    covariance = coarse_NGG.reshape(len(coarse_NGG), -1).T @ coarse_NGG.reshape(len(coarse_NGG), -1)
    cells = np.arange(grid * grid).reshape(grid, grid)
    orders = [turned(cells, turn).ravel() for turn in range(len(TURNS))]
    covariance = np.mean([covariance[np.ix_(order, order)] for order in orders], axis=0, dtype=np.float64)
    variance_D, axes = np.linalg.eigh(covariance)
    keep = slice(-1, -1 - min(COMPONENTS, grid * grid), -1)
    spread_D = np.sqrt(np.maximum(variance_D[keep], 0.0) + FLOOR * max(float(variance_D[-1]), 1e-12))
    return np.asarray(axes[:, keep] / spread_D**EVENING, dtype=np.float32)


def ranks(pairs_P2: IntArray, distance_P: Distances, count: int) -> IntArray:
    """Return the place (P, 2), from 0, of each pair among those of its first and of its second of ``count`` images."""
    image = pairs_P2.ravel()
    order = np.lexsort((np.repeat(distance_P, 2), image))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - np.searchsorted(image[order], np.arange(count))[image[order]]
    return rank.reshape(-1, 2)


def _described(coarse_NGG: Float32, project: Float32) -> Float32:
    flat_ND = np.ascontiguousarray(coarse_NGG).reshape(len(coarse_NGG), -1).astype(np.float32) @ project
    norm_N1 = np.linalg.norm(flat_ND, axis=1, keepdims=True)
    return np.asarray(flat_ND / np.maximum(norm_N1, 1e-6), dtype=np.float32)


def _ordered(first: IntArray, second: IntArray, turn: IntArray) -> Candidates:
    """Return each (pair, turn) once, the smaller row first; swapping a pair inverts its turn."""
    swap = first > second
    low, high = np.minimum(first, second), np.maximum(first, second)
    rows = np.unique(np.stack([low, high, np.where(swap, INVERSE[turn], turn)], axis=1), axis=0)
    rows = rows.astype(np.int64).reshape(-1, 3)
    return Candidates(pairs_P2=rows[:, :2], turn_P=rows[:, 2])
