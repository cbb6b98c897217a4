"""Captions say what is known and nothing else."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.data.captions import age_band, caption, captions
from engine.data.table import make_table


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("mel", "back", "female", 55.0), "dermoscopy of mel on the back, female, age 50-59"),
        (("nv", "", "", math.nan), "dermoscopy of nv"),
        (("nv", "unknown", "male", 0.0), "dermoscopy of nv, male, age 0-9"),
        (("df", "scalp", "unknown", 80.0), "dermoscopy of df on the scalp, age 80-89"),
    ],
)
def test_caption(given: tuple[str, str, str, float], expected: str) -> None:
    assert caption(*given) == expected


def test_captions_follow_the_rows() -> None:
    table = make_table("t", ["b", "a"], ["nv", "mel"], age=[np.nan, 9.9], sex=["male", ""])
    assert captions(table) == ["dermoscopy of nv, male", "dermoscopy of mel, age 0-9"]


def test_age_band() -> None:
    assert [age_band(a) for a in (math.nan, 0, 10, 59.9, 100)] == ["", "0-9", "10-19", "50-59", "100-109"]
