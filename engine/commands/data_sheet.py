"""A contact sheet of a data set: one row per class, one image per lesion, the lesion mask outlined in green."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine.parts.dataset import Dataset
from engine.report.sheets import labelled_rows
from engine.types import BoolArray, IntArray

TILE = 128
LABEL = 110
GREEN = (60, 230, 60)


def class_sheet(dataset: Dataset, columns: int) -> Image.Image:
    """Return the sheet; images are spread evenly over each class's lesions in the order of their ids."""
    rows = {}
    for dx in dataset.classes:
        members = np.flatnonzero(dataset.table.dx == dx).astype(np.int64)
        shown = spread(dataset, members, columns)
        rows[f"{dx[:16]}\n{len(members)} images"] = [tile(dataset, int(position)) for position in shown]
    return labelled_rows(rows, columns, TILE, LABEL)


def spread(dataset: Dataset, members: IntArray, count: int) -> IntArray:
    """Pick at most ``count`` of ``members``: one image per lesion, evenly over the lesions."""
    _, first = np.unique(dataset.table.lesion_id[members], return_index=True)
    one_each = members[np.sort(first)]
    if len(one_each) <= count:
        return one_each
    return one_each[np.linspace(0, len(one_each) - 1, count).round().astype(np.int64)]


def tile(dataset: Dataset, position: int) -> Image.Image:
    """Return one image, enlarged to TILE, its mask outlined (a mask of nothing or everything has no outline)."""
    row = dataset.rows[position]
    picture = Image.fromarray(np.asarray(dataset.images_NHWC[row]))
    pixels = np.array(picture.resize((TILE, TILE), Image.Resampling.BICUBIC))
    mask = Image.fromarray(np.asarray(dataset.masks_NHW[row])).resize((TILE, TILE), Image.Resampling.BILINEAR)
    inside_HW = np.asarray(mask) >= 128
    if not inside_HW.all():
        pixels[outline(inside_HW)] = GREEN
    return Image.fromarray(pixels)


def outline(inside_HW: BoolArray | npt.NDArray[np.bool_]) -> BoolArray:
    """Return the pixels just outside ``inside_HW``: 4-neighbours of it that are not in it."""
    padded = np.pad(inside_HW, 1)
    near = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return np.asarray(near & ~inside_HW, dtype=np.bool_)
