"""Products of queries with all rows of a class, tile by tile, and how far each may lie from the true one.

In bf16, where the processor multiplies it natively, products take a third of the time or less. They are coarse: they find
candidates, no similarities. Rows and queries are taken around the mean row first, as rows of one class point much the same
way, and the error is a share of how far they lie from it.

Shape legend: C rows, B queries of a block, T rows of a tile, I rows of a group, G groups of a tile, D width, P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from engine.retrieval.embedding import Float32Array
from engine.types import IntArray

TILE: Final = 8192
"""Rows at a time: with 512 queries their products take 16 MiB in float32, whatever the class holds."""
GROUP: Final = 16
"""Products whose largest stands for them while the bound is sought."""
UNIT_ROUNDOFF: Final = 2.0**-24
"""Of float32."""
UNIT_ROUNDOFF_BF16: Final = 2.0**-8


@dataclass(frozen=True, kw_only=True)
class Tile:
    """Products of a block with some rows: row ``start + i * G + g`` is row i of group g.

    ``value_BIG`` is float32, or int16 with the bits of bf16: among these a positive value is larger than all that are less,
    and negative ones are in no order.
    """

    start: int
    value_BIG: npt.NDArray[Any]

    def largest(self) -> Float32Array:
        """Return the largest product of each group, (B, G); of bits without a positive one, any of them."""
        return _float32(self.value_BIG.max(axis=1))

    def at_least(
        self, largest_BG: Float32Array, least_B: Float32Array
    ) -> tuple[IntArray, IntArray, Float32Array]:
        """Return queries, rows and products of all pairs whose product is ``least_B`` or more; bits: a positive one."""
        query_X, group_X = _places(largest_BG >= least_B[:, None])
        value_XI = _float32(self.value_BIG[query_X, :, group_X])
        x_P, i_P = _places(value_XI >= least_B[query_X, None])
        row_P = self.start + i_P * self.value_BIG.shape[2] + group_X[x_P]
        return query_X[x_P], row_P, value_XI[x_P, i_P]


class Products:
    """Products in float32."""

    bits = False
    """Whether tiles hold the bits of bf16."""

    def __init__(self, rows_CD: Float32Array, count: int) -> None:
        """Take unit rows, of which those from ``count`` on fill up the last group."""
        self._rows_CD, self._count = torch.from_numpy(rows_CD), count
        steps = rows_CD.shape[1] + 4  # a unit row's norm and the bound itself are rounded too
        self._error = 2 * steps * UNIT_ROUNDOFF / (1 - steps * UNIT_ROUNDOFF)

    def error(self, query_BD: Float32Array) -> Float32Array:
        """Return how far products may lie from FAISS's sums for the same pairs, but for ``offset``, (B,)."""
        return np.full(len(query_BD), self._error, dtype=np.float32)

    def offset(self, query_BD: Float32Array) -> Float32Array:
        """Return by how much similarities are larger than products, (B,), at any row."""
        return np.zeros(len(query_BD), dtype=np.float32)

    def tiles(self, query_BD: Float32Array, group: int) -> Iterator[Tile]:
        """Yield the tiles of all rows; what fills up the last group is less than any product."""
        query = self._query(query_BD)
        end = self._count + -self._count % group
        room = torch.empty(len(query) * min(TILE, end), dtype=query.dtype)
        for start in range(0, end, TILE):
            rows = self._rows_CD[start : min(start + TILE, end)]
            product_BT = room[: len(query) * len(rows)].view(len(query), len(rows))
            torch.mm(query, rows.T, out=product_BT)
            value_BT = self._values(product_BT)
            value_BT[:, self._count - start :] = self._nothing
            yield Tile(start=start, value_BIG=value_BT.reshape(len(query), group, -1))

    _nothing: float = -np.inf

    def _query(self, query_BD: Float32Array) -> torch.Tensor:
        return torch.from_numpy(query_BD)

    def _values(self, product_BT: torch.Tensor) -> npt.NDArray[Any]:
        values: npt.NDArray[Any] = product_BT.numpy()
        return values


class Bf16Products(Products):
    """Products in bf16 of rows around their mean, on a processor that multiplies bf16 natively."""

    bits = True
    _nothing = np.iinfo(np.int16).min  # -0.0, which no bound above 0 takes

    def __init__(self, rows_CD: Float32Array, count: int) -> None:
        """Take unit rows, of which those from ``count`` on fill up the last group."""
        super().__init__(rows_CD, count)
        self._mean_D = rows_CD[:count].mean(axis=0)
        centred_CD = rows_CD - self._mean_D
        tilt_C = centred_CD @ self._mean_D
        self._radius = float(np.linalg.norm(centred_CD[:count], axis=1).max(initial=0.0))
        self._tilt = float(np.abs(tilt_C[:count]).max(initial=0.0))
        self._rows_CD = torch.from_numpy(np.column_stack([centred_CD, tilt_C])).bfloat16()

    def error(self, query_BD: Float32Array) -> Float32Array:
        """Return how far products may lie from FAISS's sums for the same pairs, but for ``offset``, (B,)."""
        rounding = (1 + UNIT_ROUNDOFF_BF16) ** 3 - 1  # of query, row and product
        length_B = np.linalg.norm(query_BD - self._mean_D, axis=1)
        plain_B = super().error(
            query_BD
        )  # in float32 are rounded: what is centred, sum, offset, and FAISS's own sum
        return np.asarray(rounding * (length_B * self._radius + self._tilt) + 4 * plain_B, dtype=np.float32)

    def offset(self, query_BD: Float32Array) -> Float32Array:
        """Return by how much similarities are larger than products, (B,), at any row."""
        return np.asarray(query_BD @ self._mean_D, dtype=np.float32)

    def _query(self, query_BD: Float32Array) -> torch.Tensor:
        """With r = m + r' and q = m + q': q r = q' r' + m r' + q m; the last is the offset, a 1 takes the one before."""
        ones_B = np.ones(len(query_BD), dtype=np.float32)
        return torch.from_numpy(np.column_stack([query_BD - self._mean_D, ones_B])).bfloat16()

    def _values(self, product_BT: torch.Tensor) -> npt.NDArray[Any]:
        return super()._values(product_BT.view(torch.int16))


def multiplies_bf16() -> bool:
    """Whether this processor has instructions for products of bf16."""
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def _float32(values: npt.NDArray[Any]) -> Float32Array:
    """Return values as they are, or what bits of bf16 stand for."""
    if values.dtype == np.float32:
        return values
    return (values.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _places(mask_XY: npt.NDArray[np.bool_]) -> tuple[IntArray, IntArray]:
    """Return what ``np.nonzero`` does, in a third of the time where little is set."""
    first, second = np.divmod(np.flatnonzero(mask_XY), mask_XY.shape[1])
    return first, second
