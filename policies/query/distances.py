"""Distances between many features: float32 products in chunks, never a matrix of all pairs.

Legend: N and M rows, F features. |a - b|^2 = |a|^2 + |b|^2 - 2 <a, b>.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.types import FloatArray

CHUNK: Final = 4096
"""Rows of a chunk: with 4096 others, 64 MiB of products."""

Rows = npt.NDArray[np.float32]


def chunks(length: int) -> Iterator[slice]:
    """Yield the slices that cut ``length`` rows into chunks."""
    return (slice(start, min(start + CHUNK, length)) for start in range(0, length, CHUNK))


def squared_lengths(feature_NF: FloatArray) -> Rows:
    """Return |a|^2 of each row, (N,)."""
    length_N = np.zeros(len(feature_NF), dtype=np.float32)
    for part in chunks(len(feature_NF)):
        rows = single(feature_NF[part])
        length_N[part] = np.einsum("nf,nf->n", rows, rows)
    return length_N


def products(feature_NF: FloatArray, one_F: FloatArray) -> Rows:
    """Return <a, one> of each row, (N,)."""
    product_N = np.zeros(len(feature_NF), dtype=np.float32)
    for part in chunks(len(feature_NF)):
        product_N[part] = single(feature_NF[part]) @ single(one_F)
    return product_N


def squared_to_nearest(feature_NF: FloatArray, other_MF: FloatArray) -> Rows:
    """Return the squared distance of each row to the nearest of M >= 1 others, (N,)."""
    length_M = squared_lengths(other_MF)
    nearest_N = np.zeros(len(feature_NF), dtype=np.float32)
    for part in chunks(len(feature_NF)):
        rows = single(feature_NF[part])
        least = np.full(len(rows), np.inf, dtype=np.float32)
        for others in chunks(len(other_MF)):
            away = length_M[others] - 2.0 * (rows @ single(other_MF[others]).T)
            np.minimum(least, away.min(axis=1), out=least)
        nearest_N[part] = np.maximum(least + np.einsum("nf,nf->n", rows, rows), 0.0)
    return nearest_N


def single(rows: FloatArray) -> Rows:
    """Return an array in float32, without a copy where it is."""
    return np.asarray(rows, dtype=np.float32)
