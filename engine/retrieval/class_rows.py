"""Exact nearest rows inside one class: products for whole blocks of queries, then the few best summed again as FAISS does.

Shape legend: C rows of the class, M queries, B queries of a block, G groups of a tile, A rows asked for, D width,
K neighbours, P pairs of a query and a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

from engine.retrieval.embedding import Float32Array
from engine.retrieval.products import GROUP, Bf16Products, Products, multiplies_bf16
from engine.types import IntArray

MISSING: Final = -1
"""Row number of a neighbour that does not exist."""
QUERIES: Final = 512
"""Queries of a block."""
MANY_GROUPS: Final = 64
"""A class is grouped where it has this many rows per row asked for; below, groups would share the best rows."""
COARSE_ROWS: Final = 4096
"""Rows from which on coarse products pay."""
PATIENCE: Final = 3
"""Blocks of queries that coarse products may fail: one query far from the class is no reason to give them up."""
COARSE_PAIRS: Final = 16
COARSE_SHARE: Final = 32
"""Coarse products pay while they leave no more pairs per query than so many per row asked for, or one row in so many."""


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
    products over all rows find candidates. They are rounded otherwise, in bf16 coarsely, so all rows are kept that come
    within the bound of the error; these few are summed by FAISS's own function. Nothing approximate is left, and the result
    depends neither on the processor, nor on the number of queries or threads.

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
        self._products = Products(self._rows_CD, self.count)
        coarse = self.count >= COARSE_ROWS and multiplies_bf16()
        self._coarse = Bf16Products(self._rows_CD, self.count) if coarse else None
        self._patience = PATIENCE

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
        """Return pairs that hold each query's ``ask`` nearest rows, and all rows as near as the last of them."""
        group = GROUP if self.count >= MANY_GROUPS * ask else 1
        if self._coarse is not None and group > 1:
            most = len(query_BD) * max(COARSE_PAIRS * ask, self.count // COARSE_SHARE)
            found = self._candidates_of(self._coarse, query_BD, ask, group, most)
            if found is not None:
                return found
            self._patience -= 1
            if self._patience == 0:
                self._coarse = None  # rows too near each other: float32 from now on
        found = self._candidates_of(self._products, query_BD, ask, group)
        assert found is not None
        return found

    def _candidates_of(
        self, products: Products, query_BD: Float32Array, ask: int, group: int, most: int | None = None
    ) -> Pairs | None:
        """Return the pairs by some products; None where they cannot tell, or leave more than ``most`` pairs.

        A query's ``ask``-th largest product so far bounds what can still be among its nearest: rows fall short of it by
        at most the error of two products. The largest product of a group stands for its GROUP rows: as many groups reach
        a value as rows, or fewer.
        """
        best_BA = np.full((len(query_BD), ask), -np.inf, dtype=np.float32)
        error_B = products.error(query_BD)
        kept: list[tuple[IntArray, IntArray, Float32Array]] = []
        for tile in products.tiles(query_BD, group):
            largest_BG = tile.largest() if group > 1 else tile.value_BIG[:, 0]
            both = np.concatenate([best_BA, largest_BG], axis=1)
            best_BA = np.partition(both, both.shape[1] - ask, axis=1)[:, -ask:]
            least_B = best_BA[:, 0] - 2 * error_B
            if products.bits and not (least_B > 0).all():
                return None
            kept.append(tile.at_least(largest_BG, least_B))
        query_P, row_P, product_P = (np.concatenate(column) for column in zip(*kept, strict=True))
        stays_P = (product_P >= least_B[query_P]) & (row_P < self.count)
        if most is not None and stays_P.sum() > most:
            return None
        floor_B = best_BA[:, 0] - error_B + products.offset(query_BD)
        return Pairs(query_P[stays_P], row_P[stays_P], floor_B)

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


def _falling(values: Float32Array) -> npt.NDArray[np.uint32]:
    """Return numbers that sort as float32 values do, the largest first."""
    bits = (values + np.float32(0.0)).view(np.uint32)  # -0.0 and 0.0 are one value
    return np.where(bits >> 31, bits, ~bits & np.uint32(0x7FFFFFFF))


def _similarity(falling: npt.NDArray[np.uint32]) -> Float32Array:
    """Undo ``_falling``."""
    bits = np.where(falling >> 31, falling, ~falling & np.uint32(0x7FFFFFFF))
    return np.asarray(bits, dtype=np.uint32).view(np.float32)
