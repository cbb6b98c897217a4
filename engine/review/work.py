"""What a work list is to the page: a next item, the reader's last answer, and how far the reader is.

The page speaks JSON; the records here are what it gets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from engine.errors import HardcaseError
from engine.review.class_names import ClassName


class OutdatedError(HardcaseError):
    """What the page answers or takes back is not what the server has: another window was faster."""


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A small picture beside the image, with what it shows."""

    picture: str
    caption: str
    nature: str = ""


@dataclass(frozen=True, kw_only=True)
class Guess:
    """One class of a model's guess, with its probability in percent."""

    name: str
    nature: str
    percent: int


@dataclass(frozen=True, kw_only=True)
class Item:
    """One image to answer about; ``guess`` is empty where the reader must not see it yet."""

    key: str
    facts: Sequence[str] = ()
    shows: str = ""
    nature: str = ""
    beside: Sequence[Beside] = ()
    guess: Sequence[Guess] = ()


@dataclass(frozen=True, kw_only=True)
class Last:
    """The reader's last answer, which can be taken back, and what the model says of that image."""

    key: str
    said: str
    guess: Sequence[Guess] = ()


@dataclass(frozen=True, kw_only=True)
class Task:
    """Where a reader stands in a work list; ``item`` is None when nothing is left."""

    item: Item | None
    last: Last | None
    done: int
    total: int
    seconds_left: float | None

    def to_json(self) -> dict[str, Any]:
        """Return what the page gets."""
        return asdict(self)


class WorkList(Protocol):
    """Images that wait for a person's answer."""

    def refresh(self) -> None:
        """Look for further items."""
        ...

    def task(self, reader: str) -> Task:
        """Return where a reader stands."""
        ...

    def answer(self, reader: str, key: str, choice: str) -> None:
        """Write an answer to the disk before this returns (OutdatedError: the item is not open to this reader)."""
        ...

    def undo(self, reader: str, key: str) -> None:
        """Take back the reader's last answer (OutdatedError: ``key`` is not the image of it)."""
        ...


def guesses(prob: Mapping[str, float], names: Mapping[str, ClassName], most: int = 3) -> tuple[Guess, ...]:
    """Return the likeliest classes, the likeliest first."""
    ranked = sorted(prob.items(), key=lambda entry: -entry[1])[:most]
    return tuple(
        Guess(name=names[dx].name, nature=names[dx].nature, percent=round(100 * p))
        for dx, p in ranked
        if dx in names
    )
