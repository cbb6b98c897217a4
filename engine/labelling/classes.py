"""Says what a reader's word means: a class of the run in any usual spelling, "cannot tell", or an answer taken back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from engine.artifacts.labels import Kind
from engine.data.diagnoses import UMBRELLAS, normalised, recognise

UNSURE: Final = frozenset({"?", "unsure", "not sure", "cannot tell", "can not tell", "can't tell"})
WITHDRAWN: Final = frozenset({"withdraw", "withdrawn"})


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """What a word says: the kind of the answer, and the class where it gives one."""

    kind: Kind
    dx: str = ""


def meaning(word: str, classes: Sequence[str]) -> Meaning | None:
    """Return what a word means, None where it names no class of the run or could mean two.

    A class's own name comes first, then the other words, then other spellings of a diagnosis: ``nevus`` where the run has
    ``nv``. A word with a question mark in it names no class.
    """
    plain = " ".join(word.split())
    if plain in classes:
        return Meaning(kind="label", dx=plain)
    folded = plain.casefold().replace("\u2019", "'")
    if folded in UNSURE:
        return Meaning(kind="unsure")
    if folded in WITHDRAWN:
        return Meaning(kind="withdrawn")
    dx = None if "?" in plain else _spelled(plain, classes)
    return None if dx is None else Meaning(kind="label", dx=dx)


def _spelled(word: str, classes: Sequence[str]) -> str | None:
    """Return the one class whose name is spelled alike, else the one that is the same diagnosis."""
    keys: tuple[Callable[[str], str], ...] = (str.casefold, normalised)
    for key in keys:
        alike = [name for name in classes if key(name) == key(word)] if key(word) else []
        if alike:
            return alike[0] if len(alike) == 1 else None
    found = recognise(word)
    if found is None:
        return None
    if found.name in classes:
        return found.name
    if found.name in UMBRELLAS:  # psoriasis and eczema are both inflammatory, and two diagnoses
        return None
    same = [name for name in classes if (of := recognise(name)) is not None and of.name == found.name]
    return same[0] if len(same) == 1 else None
