"""Reads tables whose cells are pixels, as Kaggle has HAM10000 beside its photographs: ``hmnist_28_28_RGB.csv``."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from engine.config import DataConfig
from engine.data.readers.files import one_file, require_folder
from engine.data.table import Source, make_table
from engine.errors import DataError

LABEL: Final = "label"
PIXEL: Final = re.compile(r"pixel\d+")
HMNIST: Final = ("akiec", "bcc", "bkl", "df", "nv", "vasc", "mel")
"""Classes 0 to 6 of Kaggle's files, which are called hmnist_*: their order is that of its notebook, not the alphabet's."""


def read_pixels(config: DataConfig) -> Source:
    """Read columns ``pixel0000``, ... (row by row; red, green and blue of a pixel side by side) and ``label``.

    The number of pixel columns gives the square side: 2352 are 28 x 28 in colour, 784 in grey. Names of classes 0 to 6 are
    known where the file is called hmnist; others are their numbers. No such table names lesions: its groups are unknown.

    Raises:
        DataError: no such table, another number of columns, or a value that is no pixel.
    """
    path = Path(str(config.root)).expanduser().absolute()
    if not path.is_file():
        path = one_file(
            require_folder(str(config.root)),
            ["hmnist*.csv"],
            "table of pixels",
            "give data.root the file itself",
        )
    try:
        frame = pd.read_csv(path, compression=None)
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise DataError(f"{path}: cannot be read as a table ({error}); download it again") from error
    columns = [name for name in frame.columns if name != LABEL]
    shape = pixel_shape([*columns, LABEL] if LABEL in frame.columns else columns)
    if shape is None or not len(frame):
        raise DataError(
            f"{path}: has {len(frame)} rows and {len(columns)} columns beside {LABEL}; expected rows of pixel0000, ... "
            "for a square image, grey or RGB, and label"
        )
    values_NP = frame[columns].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(~((values_NP >= 0) & (values_NP <= 255)).all(axis=1))
    if len(wrong):
        raise DataError(
            f"{path}: row {wrong[0] + 1} holds a value that is no pixel from 0 to 255; correct it"
        )
    frames = values_NP.astype(np.uint8).reshape(len(frame), *shape)
    labels = _names(path, frame[LABEL].tolist())
    table = make_table(str(path), [f"row_{row:06d}" for row in range(len(frame))], labels)
    return Source(table=table, where=str(path), labels=table.classes, frames=tuple(frames))


def pixel_shape(columns: Sequence[str]) -> tuple[int, ...] | None:
    """Return the image shape (h, w) or (h, w, 3) of a table with these columns; None where it is no table of pixels."""
    pixels = [name for name in columns if PIXEL.fullmatch(name)]
    if LABEL not in columns or len(pixels) != len(columns) - 1 or not pixels:
        return None
    for channels in (1, 3):
        side = math.isqrt(len(pixels) // channels)
        if side * side * channels == len(pixels):
            return (side, side) if channels == 1 else (side, side, channels)
    return None


def _names(path: Path, labels: Sequence[object]) -> list[str]:
    """Return class names: HAM10000's for a file called hmnist, else the values as text."""
    texts = ["" if pd.isna(label) else str(label).removesuffix(".0") for label in labels]
    if not path.name.lower().startswith("hmnist"):
        return texts
    known = {str(number): name for number, name in enumerate(HMNIST)}
    odd = sorted(set(texts) - set(known))
    if odd:
        raise DataError(f"{path}: label {odd[0]!r} is none of HAM10000's seven, 0 to 6; correct it")
    return [known[text] for text in texts]
