"""Text in Markdown is shown as it is: rendering what was escaped gives the text back."""

from __future__ import annotations

import re

import pytest

from engine.artifacts.calibration import Calibration
from engine.artifacts.markdown_text import as_text
from engine.commands.model_card import operating_point


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("mel", "mel"),
        ("basal_cell_carcinoma", "basal_cell_carcinoma"),
        ("_mel_", r"\_mel\_"),
        ("<script>alert('mel')</script>", r"\<script\>alert('mel')\</script\>"),
        ("[x](http://y)", r"\[x\](http://y)"),
        ("a|b", r"a\|b"),
        ("**nv** `x` # ~ & !", r"\*\*nv\*\* \`x\` \# \~ \& \!"),
        ("a\\b", r"a\\b"),
        ("a\nb\tc", r"a\\nb c"),
        ("\x1b[2J", r"\\x1b\[2J"),
    ],
)
def test_signs_of_markup_are_escaped(text: str, written: str) -> None:
    assert as_text(text) == written


def test_unescaping_gives_the_text_back() -> None:
    text = r"""a\b *_[]<>|#~&! 'x' "y" (z) 100 %"""
    assert re.sub(r"\\(.)", r"\1", as_text(text)) == text


def test_a_model_card_shows_class_names_as_text() -> None:
    found = Calibration(
        classes=("<b>x", "nv"), malignant=("<b>x",), temperature=1.0, threshold=0.5, specificity=0.9
    )
    assert r"premalignant (\<b\>x) is called" in operating_point(found)
