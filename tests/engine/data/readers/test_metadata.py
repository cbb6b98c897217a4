"""Age, sex and skin type as public data sets write them: what is not understood is unknown, and said."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.readers.metadata import read_metadata


def test_odd_values_are_unknown_and_counted() -> None:
    found = read_metadata(["85+", "60", "", "unknown", "-4", "130", "85+"], ["M", "female", "", "UNK", "MALE", "w", "x"],
                          ["3.0", "-1", "IV", "", "0", "2", "NaN"])  # fmt: skip
    assert found.age[1] == 60.0 and np.isnan(found.age[[0, 2, 3, 4, 5, 6]]).all()
    assert found.sex == ("male", "female", "", "", "male", "female", "x")
    assert found.skin_type == ("3", "", "IV", "", "", "2", "")
    assert found.notes == (
        "age: 4 values count as unknown because each is no age in years from 0 to 120 ('85+', '-4', '130')",
        "skin type: 1 values count as unknown because each is no Fitzpatrick type ('0')",
    )


def test_nothing_odd_is_nothing_said() -> None:
    assert read_metadata(["", "nan"], ["", ""], ["", "-1"]).notes == ()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=8), max_size=6))
def test_no_text_stops_a_reader(values: list[str]) -> None:
    found = read_metadata(values, values, values)
    known = found.age[~np.isnan(found.age)]
    assert ((known >= 0) & (known <= 120)).all()
    assert len(found.sex) == len(found.skin_type) == len(values)
