"""Accepted images are taken in turns of their parents."""

from __future__ import annotations

import pytest

from engine.parts.parent_turns import by_turns
from engine.types import strings


@pytest.mark.parametrize(
    ("rows", "turns"),
    [
        ([0, 1, 2, 3, 4, 5], [0, 3, 5, 1, 4, 2]),
        ([5, 2, 1, 4], [5, 2, 4, 1]),
        ([1, 2], [1, 2]),
        ([], []),
    ],
)
def test_every_parents_first_comes_before_any_second(rows: list[int], turns: list[int]) -> None:
    assert by_turns(rows, strings(["a", "a", "a", "b", "b", "c"])) == turns
