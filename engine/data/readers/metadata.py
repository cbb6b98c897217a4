"""Columns that a table may have beside image and label: age, sex, skin type. Odd values are unknown, never an error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from engine.data.readers.rows import UNKNOWN
from engine.types import FloatArray

NOT_GIVEN: Final = frozenset(
    {*UNKNOWN, "-", "?", "unk", "undefined", "not available", "not provided", "-1"}
)  # fmt: skip
"""How public data sets write that a value is not known; Fitzpatrick17k writes a skin type of -1."""
SEXES: Final = {
    **dict.fromkeys(("m", "man", "male"), "male"),
    **dict.fromkeys(("f", "w", "woman", "female"), "female"),
}
OLDEST: Final = 120.0
SHOWN: Final = 3


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """Age in years (NaN where unknown), sex and skin type ("" where unknown) per row, and what was not understood."""

    age: FloatArray
    sex: tuple[str, ...]
    skin_type: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_metadata(age: Sequence[str], sex: Sequence[str], skin_type: Sequence[str]) -> Metadata:
    """Read three columns of text, "" where a table lacks a value.

    ``notes`` says, per column, how many values are given and not understood, and which: they count as unknown.
    """
    years, odd_ages = _column(age, _age)
    types, odd_types = _column(skin_type, _skin_type)
    return Metadata(
        age=np.array([float(text or "nan") for text in years], dtype=np.float64),
        sex=tuple(_sex(text) for text in sex),
        skin_type=types,
        notes=(
            *_note("age", "is no age in years from 0 to 120", odd_ages),
            *_note("skin type", "is no Fitzpatrick type", odd_types),
        ),
    )


def given(text: str) -> str:
    """Return a value, "" where it is a word for unknown."""
    return "" if text.casefold() in NOT_GIVEN else text


def _column(values: Sequence[str], read: Callable[[str], str]) -> tuple[tuple[str, ...], Counter[str]]:
    """Return each value as read, and how often each was given that cannot be ("" both for these and for unknown)."""
    texts = [given(value) for value in values]
    known = tuple(read(text) if text else "" for text in texts)
    return known, Counter(text for text, value in zip(texts, known, strict=True) if text and not value)


def _age(text: str) -> str:
    try:
        return text if 0.0 <= float(text) <= OLDEST else ""
    except ValueError:
        return ""


def _sex(text: str) -> str:
    return SEXES.get(text.casefold(), given(text))


def _skin_type(text: str) -> str:
    """Return a whole number without decimals (PAD-UFES-20 writes 3.0), other text as it is; "" for one that is no type."""
    try:
        value = float(text)
    except ValueError:
        return text
    if not np.isfinite(value) or value < 1:
        return ""
    return str(int(value)) if value == int(value) else text


def _note(what: str, why: str, odd: Counter[str]) -> list[str]:
    if not odd:
        return []
    shown = ", ".join(repr(text) for text, _ in odd.most_common(SHOWN))
    more = ", ..." if len(odd) > SHOWN else ""
    return [f"{what}: {odd.total()} values count as unknown because each {why} ({shown}{more})"]
