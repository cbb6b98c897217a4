"""Classes in the words of a clinician: the name in full, and in words whether it counts as malignant."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from engine.data.diagnoses import PREMALIGNANT_NOTE, recognise

KEYS: Final = "1234567890bcdeghjkmnpqstvwyz"
"""The keys of classes, in their order: what has another meaning on the page, or looks like a digit, is left out."""


@dataclass(frozen=True, kw_only=True)
class ClassName:
    """One class as a button or a caption shows it.

    Attributes:
        dx: the class's own name.
        name: its name in full where that is known, else ``dx``.
        nature: malignant or premalignant, in words; "" otherwise.
        note: the same in full, with the convention behind it.
        key: the key that chooses it, of KEYS; "" for classes beyond.
    """

    dx: str
    name: str
    nature: str
    note: str = ""
    key: str = ""

    @property
    def words(self) -> str:
        """Name and note in one line."""
        return f"{self.name} ({self.note})" if self.note else self.name

    @property
    def short(self) -> str:
        """Name and nature in one line."""
        return f"{self.name} ({self.nature})" if self.nature else self.name


def class_names(classes: Collection[str], malignant: Collection[str]) -> dict[str, ClassName]:
    """Return each class's words, in the order given; ``malignant`` is ``data.malignant``."""
    keys = KEYS[: len(classes)]
    return {dx: _class_name(dx, malignant, key) for dx, key in zip_longest(classes, keys, fillvalue="")}


def _class_name(dx: str, malignant: Collection[str], key: str) -> ClassName:
    known = recognise(dx)
    nature = note = "malignant" if dx in malignant else ""
    if nature and known is not None and known.premalignant:
        nature, note = "premalignant", PREMALIGNANT_NOTE
    name = dx if known is None else known.full_name.replace("_", " ")
    return ClassName(dx=dx, name=name, nature=nature, note=note, key=key)
