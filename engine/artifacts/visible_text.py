"""Shows control characters of names instead of obeying them: a class called ESC[2J must not clear somebody's terminal."""

from __future__ import annotations

import re
from typing import Final

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""C0 and C1 controls but newline and tab, overrides of the writing direction, and halves of characters."""


def visible(text: str) -> str:
    """Return text with control characters written out: ``\\x1b`` for the one that begins a terminal's commands.

    Newlines and tabs stay. Overrides of the writing direction, which make a name look like another, are written out too.
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
