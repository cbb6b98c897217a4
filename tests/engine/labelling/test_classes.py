"""What a reader's word means among the classes of a run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.labelling.classes import Meaning, meaning

HAM = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")


@pytest.mark.parametrize(
    ("word", "dx"),
    [
        ("mel", "mel"),
        (" MEL ", "mel"),
        ("Melanoma in situ", "mel"),
        ("naevus", "nv"),
        ("Melanocytic Nevi", "nv"),
        ("Basal-cell carcinoma", "bcc"),
        ("haemangioma", "vasc"),
        ("AK", "akiec"),
    ],
)
def test_usual_spellings(word: str, dx: str) -> None:
    assert meaning(word, HAM) == Meaning(kind="label", dx=dx)


@pytest.mark.parametrize("word", ["?", "unsure", "Not sure", "cannot  tell", "can't tell", "can\u2019t tell"])
def test_a_reader_may_be_unsure(word: str) -> None:
    assert meaning(word, HAM) == Meaning(kind="unsure")


def test_an_answer_may_be_taken_back() -> None:
    assert meaning("Withdraw", HAM) == meaning("withdrawn", HAM) == Meaning(kind="withdrawn")


@pytest.mark.parametrize("word", ["mel?", "psoriasis", "melanomaa", "malignant", "-", "\u75e3"])
def test_no_class(word: str) -> None:
    assert meaning(word, HAM) is None


def test_the_runs_own_names_come_first() -> None:
    assert meaning("unsure", ("nv", "unsure")) == Meaning(kind="label", dx="unsure")
    assert meaning("nevus", ("Melanoma", "Nevi")) == Meaning(kind="label", dx="Nevi")
    assert meaning("mel", ("Melanoma", "Nevi")) == Meaning(kind="label", dx="Melanoma")


def test_one_word_for_two_classes_is_none() -> None:
    assert meaning("nevus", ("blue nevus", "spitz nevus")) is None
    assert meaning("NV", ("Nv", "nv")) is None
    assert meaning("nv", ("Nv", "nv")) == Meaning(kind="label", dx="nv")


def test_classes_that_only_share_their_nature_are_not_confused() -> None:
    assert meaning("psoriasis", ("eczema", "nv")) is None
    assert meaning("psoriasis", ("inf", "nv")) == Meaning(kind="label", dx="inf")


@given(
    st.lists(
        st.text(min_size=1, max_size=6).map(lambda t: " ".join(t.split())).filter(bool),
        min_size=1,
        unique=True,
    )
)
def test_every_class_means_itself(classes: list[str]) -> None:
    for name in classes:
        assert meaning(name, classes) == Meaning(kind="label", dx=name)
