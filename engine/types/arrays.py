"""The arrays that records hold, by type, and the check that a record's columns have one length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

StrArray = npt.NDArray[np.str_]
"""A numpy array of unicode strings (dtype ``<U..``), never of Python objects."""
FloatArray = npt.NDArray[np.float32] | npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
ImageArray = npt.NDArray[np.uint8]
"""Images as uint8 RGB, (N, H, W, 3), 0-255; masks as uint8 (N, H, W), 0 or 255."""


def strings(values: Sequence[Any] | npt.NDArray[Any]) -> StrArray:
    """Return ``values`` as a unicode array; None and NaN become the empty string."""
    return np.array(
        ["" if v is None or (isinstance(v, float) and np.isnan(v)) else str(v) for v in values], dtype=np.str_
    )


def same_length(record: object, names: Sequence[str]) -> None:
    """Check that the named columns of a record have one length (ValueError names the record and every length)."""
    lengths = {name: len(getattr(record, name)) for name in names}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{type(record).__name__}: fields differ in length: {lengths}")
