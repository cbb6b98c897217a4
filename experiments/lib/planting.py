"""Makes copies of images to plant as duplicates: mirrored, rotated, cropped, re-compressed, or all of these."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from engine.data.decoding import decode_image, open_picture, rgb

KEPT_SIDE = 0.95
QUALITY = 90
LOW_QUALITY = (30, 71)
FAMILIES = 25
"""Images of which all four copies are planted at once."""
Picture = Image.Image
Plant = Callable[[Picture, np.random.Generator], Picture]


def mirrored(image: Picture, rng: np.random.Generator) -> Picture:
    """Return the image mirrored left to right or upside down."""
    ways = (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM)
    return image.transpose(ways[rng.integers(2)])


def rotated(image: Picture, rng: np.random.Generator) -> Picture:
    """Return the image rotated by 90, 180 or 270 degrees."""
    ways = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
    return image.transpose(ways[rng.integers(3)])


def cropped(image: Picture, rng: np.random.Generator) -> Picture:
    """Return 95 % of either side, cut at a random place."""
    width, height = (round(KEPT_SIDE * side) for side in image.size)
    left, top = rng.integers(image.width - width + 1), rng.integers(image.height - height + 1)
    return image.crop((int(left), int(top), int(left) + width, int(top) + height))


def recompressed(image: Picture, rng: np.random.Generator) -> Picture:
    """Return the image after JPEG of quality 30 to 70."""
    return _jpeg(image, int(rng.integers(*LOW_QUALITY)))


def all_at_once(image: Picture, rng: np.random.Generator) -> Picture:
    """Return the image mirrored, rotated, cropped and re-compressed."""
    for change in (mirrored, rotated, cropped, recompressed):
        image = change(image, rng)
    return image


PLANTS: dict[str, Plant] = {
    "mirrored": mirrored, "rotated": rotated, "cropped": cropped, "recompressed": recompressed, "all": all_at_once,
}  # fmt: skip


def plant(
    paths: list[str], copies: int, size: int, rng: np.random.Generator
) -> tuple[Any, list[tuple[int, str]]]:
    """Return planted images (M, S, S, 3) and, for each, (the row it is a copy of, the kind)."""
    rows = rng.permutation(len(paths))
    plan = [(int(rows[i * copies + k]), name) for i, name in enumerate(PLANTS) for k in range(copies)]
    singles = [name for name in PLANTS if name != "all"]
    families = rows[len(PLANTS) * copies :][:FAMILIES]
    plan += [(int(row), f"one of four: {name}") for row in families for name in singles]
    made = []
    for row, name in plan:
        changed = PLANTS[name.removeprefix("one of four: ")](rgb(open_picture(paths[row]).image), rng)
        made.append(decode_image(np.asarray(_jpeg(changed, QUALITY)), size))
    return np.stack(made), plan


def _jpeg(image: Picture, quality: int) -> Picture:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")
