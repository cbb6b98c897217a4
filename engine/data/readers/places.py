"""Finds the image file that a table's cell names: a path, a bare name, with or without suffix, in any case of letters."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from engine.data.readers.image_names import IMAGE_SUFFIXES
from engine.errors import DataError

_WINDOWS: Final = re.compile(r"[A-Za-z]:[\\/]|\\\\")
"""A drive or a share."""


def inside(table: Path, root: Path, row: int, text: str) -> PurePosixPath:
    """Return the path that a cell names, relative to ``root``.

    An absolute path, and one with '..' seen from the table, is taken where it lies below ``root``.

    Raises:
        DataError: it is empty or leads elsewhere; names the table, the row and the remedy.
    """
    path = PurePosixPath(text.replace("\\", "/"))
    strange = "\0" in text or (":" in text and not path.is_absolute())
    if path.parts and not strange:
        if not path.is_absolute() and ".." not in path.parts:
            return path
        whole = PurePosixPath(os.path.normpath(table.parent / path))
        if whole.is_relative_to(root) and whole != PurePosixPath(root):
            return whole.relative_to(root)
    if _WINDOWS.match(text):
        raise DataError(
            f"{table}: image path {text!r} in row {row + 1} is of a Windows computer; keep what lies below {root}, "
            f"for example {path.name}"
        )
    raise DataError(
        f"{table}: image path {text!r} in row {row + 1} does not lie below {root}; give a path relative to that folder, "
        "without '..', or the folder of the images as data.images"
    )


def locate(
    root: Path, given: Iterable[PurePosixPath], images: Sequence[Path], doubtful: Sequence[Path] = ()
) -> list[str]:
    """Return each image's file, "" where it is absent or where two files would do.

    A path may leave out the suffix. One that does not lie at its place is looked for by its name in the folders below, and
    then again without regard to upper and lower case or to the suffix. ``doubtful`` files, masks by their neighbours alone,
    are images where the table names them at their place.

    Raises:
        DataError: two files lie at the place of a path without suffix.
    """
    known = {path.as_posix(): path.as_posix() for path in (*images, *doubtful)}
    anywhere = _by_name(images, lambda name: name)
    folded_known = _unique((path.as_posix().casefold(), path.as_posix()) for path in images)
    folded = _by_name(images, str.casefold)
    located = []
    for relative in given:
        base = (root / relative).as_posix()
        tries = [base] if relative.suffix.lower() in IMAGE_SUFFIXES else [base + s for s in IMAGE_SUFFIXES]
        there = [known[name] for name in tries if name in known]
        if len(there) > 1:
            raise DataError(
                f"{there[0]}: {PurePosixPath(there[1]).name} beside it is an image of the same name, and the table gives "
                "none of their suffixes; write the suffix, or remove one"
            )
        found = there[0] if there else ""
        if not found and len(relative.parts) == 1:
            found = anywhere.get(relative.name, "")
        if not found:
            found = next((folded_known[n] for n in map(str.casefold, tries) if n in folded_known), "")
        if not found and len(relative.parts) == 1:
            found = folded.get(relative.name.casefold(), "") or folded.get(bare(relative.name).casefold(), "")
        located.append(found)
    return located


def bare(name: str) -> str:
    """Return an image's name without the suffix that some tables write."""
    path = PurePosixPath(name)
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES and "/" not in name else name


def _by_name(images: Sequence[Path], spell: Callable[[str], str]) -> dict[str, str]:
    return _unique((spell(name), path.as_posix()) for path in images for name in {path.name, path.stem})


def _unique(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return a mapping of the keys that stand for one value alone."""
    found: dict[str, str] = {}
    twice: set[str] = set()
    for key, value in pairs:
        if found.setdefault(key, value) != value:
            twice.add(key)
    return {key: value for key, value in found.items() if key not in twice}
