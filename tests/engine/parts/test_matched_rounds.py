"""A control has as many images of each round as hard, by hand: remainders go to later rounds, then back to surplus."""

from __future__ import annotations

import numpy as np
import pytest

from engine.parts.matched_rounds import Accepted, matched
from engine.types import strings


def accepted(parents: str, kinds: str | None = None) -> Accepted:
    """One image per letter, of the parent (and the class) that the letter names."""
    return Accepted(
        rows=np.arange(len(parents)),
        kind_S=strings(list(kinds or "m" * len(parents))),
        parent_S=strings(list(parents)),
    )


@pytest.mark.parametrize(
    ("parents", "wanted", "chosen"),
    [
        (["aabb", "ccdd"], [2, 2], [[0, 2], [0, 2]]),
        (["aabb", "ccdd"], [3, 3], [[0, 1, 2], [0, 1, 2]]),
        (["a", "ccdd"], [3, 1], [[0], [0, 1, 2]]),
        (["aabb", "c"], [1, 3], [[0, 1, 2], [0]]),
        (["aabb", "cc", "a"], [1, 2, 3], [[0, 2, 3], [0, 1], [0]]),
        (["a", "b"], [3, 3], [[0], [0]]),
        (["aabbc"], [3], [[0, 2, 4]]),
        (["", "aab"], [1, 1], [[], [0, 2]]),
    ],
    ids=[
        "each round its own", "first images before second", "a remainder carries over",
        "surplus of earlier rounds fills up, an unused parent first", "a parent of two images after one of none",
        "there are too few", "one round", "a round without images",
    ],
)  # fmt: skip
def test_by_hand(parents: list[str], wanted: list[int], chosen: list[list[int]]) -> None:
    found = matched([accepted(each) for each in parents], [{"m": n} for n in wanted])
    assert [rows.tolist() for rows in found] == chosen


def test_kinds_are_counted_apart_and_one_not_wanted_gets_none() -> None:
    found = matched([accepted("abcd", "mnmn"), accepted("efg", "nno")], [{"m": 1, "n": 1}, {"n": 1, "o": 0}])
    assert [rows.tolist() for rows in found] == [[0, 1], [0]]


def test_rejected_images_are_never_taken() -> None:
    images = Accepted(rows=np.array([1, 3]), kind_S=strings(["m"] * 4), parent_S=strings(list("abcd")))
    (rows,) = matched([images], [{"m": 4}])
    assert rows.tolist() == [1, 3]
