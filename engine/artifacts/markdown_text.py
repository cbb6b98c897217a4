"""Writes text into Markdown so that it is shown as it is: a class name is no tag, link, emphasis or table cell."""

from __future__ import annotations

import re
from typing import Final

from engine.artifacts.visible_text import visible

_SIGNS: Final = re.compile(r"[\\`*\[\]<>|#~&!]|(?<!\w)_|_(?!\w)")
"""What begins markup in CommonMark or in a table of GitHub's; ``_`` inside a word does not."""


def as_text(text: str) -> str:
    """Return ``text`` with a backslash before every sign of markup (CommonMark 0.31, 2.4); line ends become ``\\n``."""
    one_line = visible(text).replace("\n", "\\n").replace("\t", " ")
    return _SIGNS.sub(lambda found: "\\" + found[0], one_line)
