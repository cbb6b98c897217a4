"""Recognises one folder per class for `hardcase init`, and tells such folders from those that only hold images."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

from engine.commands.found import Found, tables_beside
from engine.config import DataConfig
from engine.data.readers.files import find_files
from engine.data.readers.general import PART_FOLDERS, read_folder
from engine.errors import DataError

PURPOSES: Final = frozenset({
    *PART_FOLDERS, "image", "images", "img", "imgs", "input", "inputs", "jpeg", "jpg", "png", "mask", "masks", "annotation",
    "annotations", "part", "parts", "batch", "data", "dataset", "set", "folder", "files", "photo", "photos", "picture",
    "pictures", "segmentation", "groundtruth",
})  # fmt: skip
"""Words, lower case, that say what a folder is for and not what its images show."""


def class_folders(place: Path) -> Found | None:
    """Return class folders; None where images lie in no folder, or there are none.

    Raises:
        DataError: fewer than two classes, or folders whose names say that they only hold images.
    """
    names = class_names(place)
    if names is None:
        return None
    beside = tables_beside(place)
    if len(names) < 2 or only_hold_images(names):
        raise DataError(
            f"{place}: needs two class folders or more, and in it lie {', '.join(names)}{beside}; "
            "give the folder whose subfolders are named as the classes, or the table that names them"
        )
    why = f"one folder per class (not read: {beside[2:]})" if beside else "one folder per class"
    return Found(data={"format": "folder"}, why=why)


def class_names(place: Path) -> tuple[str, ...] | None:
    """Return what the folders of a folder would be as classes; None where an image lies in none of them."""
    if not place.is_dir():
        return None
    images = [path.relative_to(place) for path in find_files(place).images]
    if not images or any(len(path.parts) < 2 for path in images):
        return None
    return read_folder(DataConfig(format="folder", root=str(place))).labels


def only_hold_images(names: Collection[str]) -> bool:
    """Return whether folders are parts of one heap: every name is a purpose, or they differ by their number alone.

    ``imgs_part_1``, ``imgs_part_2`` are; ``class_1``, ``class_2`` and ``mel``, ``nv`` are not.
    """
    words = [_words(name) for name in names]
    if all(w and w <= PURPOSES for w in words):
        return True
    return len(names) > 1 and len(set(words)) == 1 and bool(words[0] & PURPOSES)


def _words(name: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z]+", name.lower()))
