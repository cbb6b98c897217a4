"""Reads a class from columns of which one is 1: the ISIC challenges, MILK10k, and any table made that way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.errors import DataError

TRUTHS: Final = {"true": "1", "false": "0"}
ISIC_2017: Final = frozenset({"melanoma", "seborrheic_keratosis"})
ISIC_2017_REST: Final = "nevus"
"""ISIC 2017 has columns for two classes; an image marked by neither is a nevus (Codella et al. 2018)."""


def one_hot(
    path: Path, frame: pd.DataFrame, columns: Sequence[str], names: Sequence[str], *, rest: str | None = None
) -> list[str]:
    """Return the column of each row's only 1.

    Args:
        path: the table, for error messages.
        frame: its rows as text.
        columns: the class columns.
        names: each row's name, for error messages.
        rest: class of a row that has no 1; None: that is an error.

    Raises:
        DataError: fewer than two columns, a value other than 0 and 1, or a row marked more than once.
    """
    if len(columns) < 2:
        raise DataError(
            f"{path}: fewer than two class columns ({', '.join(columns)}); expected image,MEL,NV,..."
        )
    value_NC = numbers(frame, columns)
    marked_NC: npt.NDArray[np.bool_] = value_NC == 1.0
    marks_N = marked_NC.sum(axis=1)
    allowed_N = (marks_N == 1) | ((marks_N == 0) & (rest is not None))
    wrong = np.flatnonzero(~allowed_N | ~np.isin(value_NC, (0.0, 1.0)).all(axis=1))
    if len(wrong):
        raise DataError(
            f"{path}: image {names[int(wrong[0])]} is not marked by one 1 among the columns {', '.join(columns)} and 0 "
            f"elsewhere ({len(wrong)} such rows); correct the row"
        )
    chosen = [columns[int(position)] for position in marked_NC.argmax(axis=1)]
    return [name if marks else str(rest) for name, marks in zip(chosen, marks_N, strict=True)]


def numbers(frame: pd.DataFrame, columns: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return the columns' values (rows, columns), NaN where a cell is no number; true and false are 1 and 0."""
    text = frame[list(columns)].apply(lambda column: column.str.lower().replace(TRUTHS))
    values: npt.NDArray[np.float64] = text.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    return values


def rest_of(columns: Sequence[str]) -> str | None:
    """Return the class of a row without a 1 where a known challenge defines one, else None."""
    return ISIC_2017_REST if set(columns) == ISIC_2017 else None


def flag_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns that hold 0 and 1 alone."""
    return [name for name in frame.columns if np.isin(numbers(frame, [name]), (0.0, 1.0)).all()]
