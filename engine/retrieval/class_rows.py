"""Exact nearest rows inside one class: products for whole blocks of queries, then the few best summed again as FAISS does.

Shape legend: C rows of the class, M queries, B queries of a block, T rows of a tile, G groups of a tile, D width,
K neighbours, P pairs of a query and a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt
import torch

from engine.retrieval.embedding import Float32Array
from engine.types import IntArray

MISSING: Final = -1
"""Row number of a neighbour that does not exist."""
QUERIES: Final = 256
"""Queries of a block, TILE rows at a time: their products take 8 MiB, whatever the class holds."""
TILE: Final = 8192
GROUP: Final = 16
"""Products whose largest stands for them while the bound is sought."""
MANY_GROUPS: Final = 64
"""A class is grouped where it has this many rows per row asked for; below, groups would share the best rows."""
UNIT_ROUNDOFF: Final = 2.0**-24
"""Of float32."""


class Pairs(NamedTuple):
    """P pairs of a query (its place in the block) and a row of the class, in any order.

    All rows at least as similar to a query as ``floor_B`` are among them.
    """

    query_P: IntArray
    row_P: IntArray
    floor_B: Float32Array


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """K rows of the class for each of M queries, most similar first; where fewer exist: MISSING and -inf."""

    row_MK: IntArray
    similarity_MK: Float32Array

    @classmethod
    def none(cls, queries: int, k: int) -> Nearest:
        """Return no row for any query."""
        return cls(
            row_MK=np.full((queries, k), MISSING, dtype=np.int64),
            similarity_MK=np.full((queries, k), -np.inf, dtype=np.float32),
        )


class ClassRows:
    """The unit rows of one class, searched for the nearest rows of distinct lesions.

    A search gives the rows and the bits that FAISS's flat index gives one query at a time, several times as fast. Matrix
    products over all rows find candidates. Their sums are rounded in another order, so all rows are kept that come within
    the bound of the rounding error; these few are summed by FAISS's own function. Nothing approximate is left, and the
    result depends neither on the number of queries nor on threads.

    Classes of every size are searched whole: 143,000 rows take half a millisecond per query, and a round asks a few hundred.
    An IVF took 5 s to build and was slower at a recall of 0.96 where rows have no clusters
    (``experiments/results/benchmarks``).
    """

    def __init__(self, rows_CD: Float32Array, lesion_C: IntArray) -> None:
        """Keep the rows of a class.

        Args:
            rows_CD: unit rows; of equally similar ones the first is nearer.
            lesion_C: number of each row's lesion, from 0.
        """
        self.count, self.width = rows_CD.shape
        self._rows_CD = np.zeros((self.count + -self.count % GROUP, self.width), dtype=np.float32)
        self._rows_CD[: self.count] = rows_CD
        self._lesion_C = lesion_C
        self._lesions = int(lesion_C.max(initial=0)) + 1
        self._repeats = len(np.unique(lesion_C)) < self.count
        steps = self.width + 4  # a unit row's norm and the bound itself are rounded too
        self._error = 2 * steps * UNIT_ROUNDOFF / (1 - steps * UNIT_ROUNDOFF)

    def search(self, query_MD: Float32Array, own_M: IntArray, k: int) -> Nearest:
        """Return the nearest rows of each query, one a lesion, never of the query's own lesion.

        Args:
            query_MD: unit rows.
            own_M: number of each query's lesion; -1: none of the class's.
            k: rows per query, >= 1.
        """
        found = Nearest.none(len(query_MD), k)
        query_MD = np.ascontiguousarray(query_MD, dtype=np.float32)
        left_M, ask = np.arange(len(query_MD)), min(self.count, 2 * k + 2)
        while len(left_M):
            short = [np.zeros(0, dtype=np.int64)]
            for start in range(0, len(left_M), self._block):
                block_B = left_M[start : start + self._block]
                pairs = self._candidates(query_MD[block_B], ask)
                enough_B = self._keep(pairs, query_MD, own_M, block_B, found)
                short.append(block_B[~enough_B])
            left_M = np.concatenate(short) if ask < self.count else left_M[:0]
            ask = min(self.count, 4 * ask)
        return found

    @property
    def _block(self) -> int:
        """Queries at a time: place of the query, similarity and row share the 64 bits of a sort key."""
        return int(min(QUERIES, 2 ** (32 - self.count.bit_length())))

    def _candidates(self, query_BD: Float32Array, ask: int) -> Pairs:
        """Return pairs that hold each query's ``ask`` nearest rows, and all rows as near as the last of them.

        A query's ``ask``-th largest product so far bounds what can still be among its nearest: rows fall short of it by
        at most the rounding of two sums. The largest product of a group stands for its GROUP rows: as many groups reach
        a value as rows, or fewer.
        """
        group = GROUP if self.count >= MANY_GROUPS * ask else 1
        best_BA = np.full((len(query_BD), ask), -np.inf, dtype=np.float32)
        kept: list[tuple[IntArray, IntArray, Float32Array]] = []
        for start, product_BT in self._products(query_BD, group):
            product_BIG = product_BT.reshape(len(query_BD), group, -1)
            largest_BG = product_BIG.max(axis=1) if group > 1 else product_BT
            both = np.concatenate([best_BA, largest_BG], axis=1)
            best_BA = np.partition(both, both.shape[1] - ask, axis=1)[:, -ask:]
            least_B = best_BA[:, 0] - 2 * self._error
            query_X, group_X = _places(largest_BG >= least_B[:, None])
            product_XI = product_BIG[query_X, :, group_X]
            x_P, i_P = _places(product_XI >= least_B[query_X, None])
            row_P = start + i_P * product_BIG.shape[2] + group_X[x_P]
            kept.append((query_X[x_P], row_P, product_XI[x_P, i_P]))
        query_P, row_P, product_P = (np.concatenate(column) for column in zip(*kept, strict=True))
        stays_P = (product_P >= (best_BA[:, 0] - 2 * self._error)[query_P]) & (row_P < self.count)
        return Pairs(query_P[stays_P], row_P[stays_P], best_BA[:, 0] - self._error)

    def _products(self, query_BD: Float32Array, group: int) -> Iterator[tuple[int, Float32Array]]:
        """Yield the first row of each tile and its products (B, T); T is filled up to whole groups with -inf."""
        query, rows = torch.from_numpy(query_BD), torch.from_numpy(self._rows_CD)
        end = self.count + -self.count % group
        for start in range(0, end, TILE):
            product_BT = (query @ rows[start : min(start + TILE, end)].T).numpy()
            product_BT[:, self.count - start :] = -np.inf
            yield start, product_BT

    def _keep(
        self, pairs: Pairs, query_MD: Float32Array, own_M: IntArray, block_B: IntArray, found: Nearest
    ) -> npt.NDArray[np.bool_]:
        """Write the block's nearest rows of distinct lesions into ``found``; return which queries have all K."""
        k = found.row_MK.shape[1]
        query_P, row_P, similarity_P = self._in_order(pairs, query_MD, block_B)
        lesion_P = self._lesion_C[row_P]
        kept_P = np.flatnonzero(
            (lesion_P != own_M[block_B][query_P]) & (similarity_P >= pairs.floor_B[query_P])
        )
        if self._repeats:
            first = np.unique(query_P[kept_P] * self._lesions + lesion_P[kept_P], return_index=True)[1]
            kept_P = kept_P[np.sort(first)]
        count_B = np.bincount(query_P[kept_P], minlength=len(block_B))
        place_P = np.arange(len(kept_P)) - np.repeat(np.cumsum(count_B) - count_B, count_B)
        kept_P, place_P = kept_P[place_P < k], place_P[place_P < k]
        found.row_MK[block_B[query_P[kept_P]], place_P] = row_P[kept_P]
        found.similarity_MK[block_B[query_P[kept_P]], place_P] = similarity_P[kept_P]
        return np.asarray(count_B >= k)

    def _in_order(
        self, pairs: Pairs, query_MD: Float32Array, block_B: IntArray
    ) -> tuple[IntArray, IntArray, Float32Array]:
        """Return queries, rows and similarities of the pairs: query by query, most similar first, ties by row."""
        query_P, row_P = np.ascontiguousarray(pairs.query_P), np.ascontiguousarray(pairs.row_P)
        asked_P = np.ascontiguousarray(block_B[query_P])
        similarity_P = np.empty(len(row_P), dtype=np.float32)
        products: Any = faiss
        products.pairwise_indexed_inner_product(
            self.width, len(row_P), faiss.swig_ptr(query_MD), faiss.swig_ptr(asked_P),
            faiss.swig_ptr(self._rows_CD), faiss.swig_ptr(row_P), faiss.swig_ptr(similarity_P),
        )  # fmt: skip
        bits = self.count.bit_length()
        key_P = (query_P.astype(np.uint64) << np.uint64(32 + bits)) | row_P.astype(np.uint64)
        key_P |= _falling(similarity_P).astype(np.uint64) << np.uint64(bits)
        key_P.sort()
        row_P = (key_P & np.uint64(2**bits - 1)).astype(np.int64)
        similarity_P = _similarity((key_P >> np.uint64(bits)).astype(np.uint32))
        return (key_P >> np.uint64(32 + bits)).astype(np.int64), row_P, similarity_P


def _places(mask_XY: npt.NDArray[np.bool_]) -> tuple[IntArray, IntArray]:
    """Return what ``np.nonzero`` does, in a third of the time where little is set."""
    first, second = np.divmod(np.flatnonzero(mask_XY), mask_XY.shape[1])
    return first, second


def _falling(values: Float32Array) -> npt.NDArray[np.uint32]:
    """Return numbers that sort as float32 values do, the largest first."""
    bits = (values + np.float32(0.0)).view(np.uint32)  # -0.0 and 0.0 are one value
    return np.where(bits >> 31, bits, ~bits & np.uint32(0x7FFFFFFF))


def _similarity(falling: npt.NDArray[np.uint32]) -> Float32Array:
    """Undo ``_falling``."""
    bits = np.where(falling >> 31, falling, ~falling & np.uint32(0x7FFFFFFF))
    return np.asarray(bits, dtype=np.uint32).view(np.float32)
