"""Turns padded arrays of neighbours into the lists that parquet files hold, and back.

Shape legend: R rows, K slots.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.types import BoolArray


def to_lists(values_RK: npt.NDArray[Any], used_RK: BoolArray) -> list[list[Any]]:
    """Return the used slots of each row."""
    return [row[used].tolist() for row, used in zip(values_RK, used_RK, strict=True)]


def to_array(lists: Iterable[Any], fill: Any, dtype: Any) -> npt.NDArray[Any]:
    """Return lists as an array (R, K), K the longest list's length and at least 1; shorter ones end in ``fill``."""
    rows = [list(row) for row in lists]
    width = max([1, *(len(row) for row in rows)])
    padded = [[*row, *[fill] * (width - len(row))] for row in rows]
    return np.array(padded, dtype=dtype).reshape(len(rows), width)
