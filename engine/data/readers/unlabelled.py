"""Reads a plain folder of images that have no diagnosis, beside a data set of image files (``data.unlabelled_images``)."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from typing import Final

import numpy as np

from engine.data.readers.files import find_files, names_of
from engine.data.table import UNLABELLED, Source, make_table
from engine.errors import DataError
from engine.types import LesionTable

KEY: Final = "data.unlabelled_images"


def with_folder(source: Source, folder: str) -> Source:
    """Return ``source`` and, below its rows, every image in or below ``folder`` that it does not have yet.

    Ids are the files' names. Where one of them is taken, all of the folder's begin with the folder's name: ``extra__0001``.
    Masks beside the images are theirs; what is no image is counted in ``left_out``.

    Raises:
        DataError: the folder does not exist, holds no image that is new, or even the longer ids are taken.
    """
    root = Path(folder).expanduser().absolute()
    if not root.is_dir():
        raise DataError(f"{KEY}: {root} is no folder; give the folder that the images lie in or below")
    files = find_files(root)
    there = {Path(path).resolve() for path in source.table.path.tolist() if path}
    new = [path for path in files.images if path.resolve() not in there]
    if not new:
        raise DataError(
            f"{KEY}: {root} holds no image that the data set does not have; give another folder, or drop it"
        )
    names, taken = names_of(root, new), set(source.table.image_id.tolist())
    if taken.intersection(names):
        names = [f"{root.name}__{name}" for name in names]
    if both := sorted(taken.intersection(names)):
        raise DataError(f"{KEY}: {root} holds {both[0]}, which the data set has too; rename the folder")
    paths = [str(path) for path in new]
    table = make_table(
        str(root), names, [UNLABELLED] * len(names), path=paths, mask_path=files.mask_paths(paths)
    )
    left_out = Counter(source.left_out) + Counter(files.left_out)
    return replace(source, table=joined(source.table, table), left_out=dict(left_out))


def joined(first: LesionTable, second: LesionTable) -> LesionTable:
    """Return the rows of two tables, one after the other."""
    columns = {
        f.name: np.concatenate([getattr(first, f.name), getattr(second, f.name)]) for f in fields(first)
    }
    return LesionTable(**columns)
