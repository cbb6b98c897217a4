"""Refuses image ids and classes that no file could be named by, and images that several rows describe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from engine.errors import DataError

LONGEST_NAME: Final = 200
"""Bytes of the longest image id or class: file names made of it have 255 at most."""


def check_name(where: str, position: int, name: str) -> None:
    """Raise DataError for an image id that is empty or no plain name; ``position`` counts rows from 0."""
    if not name:
        raise DataError(f"{where}: row {position + 1} has no image_id; fill it in or remove the row")
    if name in (".", "..") or any(sign in name for sign in "/\\\0"):
        raise DataError(
            f"{where}: image_id {name!r} (row {position + 1}) is not a plain name; "
            "an id must not hold a slash or '..', which could lead outside data.root"
        )
    check_text(where, position, "image_id", name)


def check_text(where: str, position: int, what: str, text: str) -> None:
    """Raise DataError for a name that no file could have, or that UTF-8 cannot write."""
    try:
        size = len(text.encode("utf-8"))
    except UnicodeEncodeError:
        raise DataError(
            f"{where}: {what} {text!r} (row {position + 1}) is not UTF-8; rename the file or folder"
        ) from None
    if size > LONGEST_NAME:
        raise DataError(
            f"{where}: {what} {text[:40]!r}... (row {position + 1}) has {size} bytes; give it {LONGEST_NAME} at most"
        )


def check_once(where: str, image_id: Sequence[str], dx: Sequence[str]) -> None:
    """Raise DataError where an image stands in several rows; one whose rows contradict each other is named first."""
    twice = sorted(name for name, count in Counter(image_id).items() if count > 1)
    if not twice:
        return
    labels: dict[str, set[str]] = {name: set() for name in twice}
    for name, label in zip(image_id, dx, strict=True):
        if name in labels:
            labels[name].add(label)
    apart = [name for name in twice if len(labels[name]) > 1]
    if apart:
        raise DataError(
            f"{where}: image_id {apart[0]} is listed more than once, as {' and as '.join(sorted(labels[apart[0]]))} "
            f"({len(twice)} such ids, {len(apart)} of them with several diagnoses); keep the row whose diagnosis is right"
        )
    raise DataError(
        f"{where}: image_id {twice[0]} is listed more than once ({len(twice)} such ids); "
        "every image needs one row and its own name"
    )
