"""Pictures of a run folder, made small and put into the page itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from engine.artifacts import decoded_images, lesions, run_stages
from engine.artifacts.run_files import RunFiles
from engine.artifacts.run_layout import foundation_role
from engine.errors import DataError

EXACT: Final = 64
"""Up to so many pixels a side a picture is kept to the bit (PNG); larger ones are compressed (WebP)."""
QUALITY: Final = 88


def picture(path: Path, side: int) -> str | None:
    """Return an image file as a data URI no larger than ``side`` pixels a side; None where it cannot be read.

    A small PNG without further data, as hardcase writes them, is taken as it is; everything else is drawn anew.
    """
    try:
        with Image.open(path) as image:
            plain = image.format == "PNG" and image.mode == "RGB" and max(image.size) <= min(side, EXACT)
            small = image.convert("RGB")
            as_it_is = plain and not image.info
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    if as_it_is:
        return _data_uri(path.read_bytes(), "png")
    return embedded(small, side)


def embedded(image: Image.Image, side: int) -> str:
    """Return an RGB image as a data URI no larger than ``side`` pixels a side."""
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if max(small.size) <= EXACT:
        small.save(buffer, format="PNG")
        return _data_uri(buffer.getvalue(), "png")
    small.save(buffer, format="WEBP", quality=QUALITY, method=4)
    return _data_uri(buffer.getvalue(), "webp")


def decoded(run: RunFiles, image_ids: Sequence[str], side: int) -> dict[str, str]:
    """Return images of a run as data URIs, by image id, from the stage cache beside it.

    An image is left out that is not there, or whose stage is not: a run folder that was copied alone has no cache.
    """
    name = run_stages.read_if_written(run.path).get(foundation_role("images"), "")
    folder = run.layout.cache / name
    try:
        ids = lesions.SCHEMA.read(folder, ["image_id"])["image_id"].tolist()
        images_NHWC = decoded_images.open_images(folder)
    except DataError:
        return {}
    row_of = {str(image_id): row for row, image_id in enumerate(ids)}
    return {
        image_id: embedded(Image.fromarray(np.asarray(images_NHWC[row_of[image_id]])), side)
        for image_id in image_ids
        if image_id in row_of
    }


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(data).decode("ascii")


def inside(folder: Path, name: str) -> Path | None:
    """Return the file ``name`` of ``folder``, None where it is missing or lies outside the folder."""
    path = (folder / name).resolve()
    return path if path.is_relative_to(folder.resolve()) and path.is_file() else None
