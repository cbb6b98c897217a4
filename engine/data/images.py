"""Decodes every image once into a uint8 memmap of squares: one geometry for all readers, in parallel."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from engine.artifacts import decoded_images
from engine.artifacts.full_disk import allocated_memmap
from engine.artifacts.whole_files import whole_file
from engine.config import DataConfig
from engine.data.decoding import (
    ImageFileError,
    Picture,
    grey,
    image_square,
    open_image,
    open_picture,
    to_square,
)
from engine.data.masks import MaskKind, choose_mask
from engine.data.table import Source
from engine.errors import DataError
from engine.types import BoolArray, ImageArray, LesionTable

CHUNK = 32
MASK_KINDS: tuple[MaskKind, ...] = ("file", "otsu", "none")

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """What decoding N rows gave: which were good, which mask each got, and why the others were skipped."""

    good_N: BoolArray
    masks: dict[str, int]
    masks_degenerate: int
    several_frames: int
    skipped: tuple[tuple[str, str], ...]


class Row(NamedTuple):
    """What decoding one row gave: where its mask came from, whether the given one was unusable, whether frames follow."""

    kind: MaskKind
    degenerate: bool
    several: bool


def decode_mask(
    source: str | Path | npt.NDArray[np.uint8], size: int, fit: str = "crop", like: Picture | None = None
) -> ImageArray:
    """Return a mask file or array as (size, size) uint8, cut like its image whatever its own size (nearest pixel).

    Args:
        source: file or (h, w) array.
        size: side in pixels.
        fit: as of its image.
        like: its image, which tells whether the mask was drawn before or after EXIF's turn.

    Raises:
        ImageFileError: the file is absent, truncated, too large or no image.
    """
    mask = open_picture(source)
    turned = like if like is not None and mask.orientation == 1 else None
    square = to_square(grey(mask.image, turned), size, fit, Image.Resampling.NEAREST)
    return np.asarray(square, dtype=np.uint8)


def fill_cache(source: Source, config: DataConfig, out: Path, progress: Progress) -> Decoded:
    """Decode all rows into ``out/images.npy`` (N,H,W,3) and ``out/masks.npy`` (N,H,W), in the table's order.

    Threads share the work (decoding releases the interpreter lock) and write rows of their own, so the files do not
    depend on their number. Skipped rows are left out of the files.

    Raises:
        DataError: an image or mask cannot be decoded and ``on_bad_image`` is fail (names it), or none can.
    """
    count, size = len(source.table), config.image_size
    images_NHWC = allocated_memmap(decoded_images.IMAGES.path(out), np.uint8, (count, size, size, 3))
    masks_NHW = allocated_memmap(decoded_images.MASKS.path(out), np.uint8, (count, size, size))

    def decode_chunk(start: int) -> list[Row | str]:
        rows = range(start, min(start + CHUNK, count))
        return [_decode_row(source, row, config, images_NHWC, masks_NHW) for row in rows]

    outcomes: list[Row | str] = []
    with ThreadPoolExecutor(config.workers or available_cores()) as pool:
        for chunk in pool.map(decode_chunk, range(0, count, CHUNK)):
            outcomes += chunk
            bad = next((o for o in chunk if isinstance(o, str)), None)
            if bad is not None and config.on_bad_image == "fail":
                pool.shutdown(wait=True, cancel_futures=True)
                raise DataError(
                    f"{bad}; replace the file, remove it (and its row, if it has one), or set data.on_bad_image=skip"
                )
            progress("images", len(outcomes), count)
    decoded = _summarise(source, outcomes)
    images_NHWC.flush()
    masks_NHW.flush()
    if not decoded.good_N.all():
        _keep_rows(decoded_images.IMAGES.path(out), images_NHWC, decoded.good_N)
        _keep_rows(decoded_images.MASKS.path(out), masks_NHW, decoded.good_N)
    return decoded


def data_digest(table: LesionTable, out: Path) -> str:
    """Return the sha256 of the table's columns (paths apart) and of the decoded images and masks in ``out``."""
    digest = hashlib.sha256()
    for field in fields(LesionTable):
        if field.name not in ("path", "mask_path"):
            digest.update("\0".join([field.name, *map(str, getattr(table, field.name))]).encode())
    for array in (decoded_images.open_images(out), decoded_images.open_masks(out)):
        for start in range(0, len(array), 1024):
            digest.update(np.ascontiguousarray(array[start : start + 1024]).data)
    return digest.hexdigest()


def _decode_row(
    source: Source, row: int, config: DataConfig, images_NHWC: ImageArray, masks_NHW: ImageArray
) -> Row | str:
    """Decode one image and its mask into their rows; returns the mask's kind, or what is wrong."""
    size, fit = config.image_size, config.fit
    place = str(source.table.path[row]) or f"{source.where}: {source.table.image_id[row]}"
    try:
        pixels = str(source.table.path[row]) if source.frames is None else source.frames[row]
        picture = open_image(pixels, size)
        image_HWC = image_square(picture, size, fit)
        mask_path = str(source.table.mask_path[row])
        given_HW: ImageArray | None = None
        if config.mask == "file" and (source.masks is not None or mask_path):
            place = mask_path or place
            given = mask_path if source.masks is None else source.masks[row]
            given_HW = decode_mask(given, size, fit, picture)
    except ImageFileError as error:
        return f"{place}: cannot be decoded ({error})"
    mask_HW, kind, degenerate = choose_mask(image_HWC, given_HW, config.mask)
    images_NHWC[row], masks_NHW[row] = image_HWC, mask_HW
    return Row(kind, degenerate, picture.several)


def _summarise(source: Source, outcomes: list[Row | str]) -> Decoded:
    good_N = np.array([not isinstance(outcome, str) for outcome in outcomes], dtype=np.bool_)
    bad = [(str(source.table.image_id[row]), o) for row, o in enumerate(outcomes) if isinstance(o, str)]
    if not good_N.any():
        raise DataError(
            f"{source.where}: none of its {len(outcomes)} images could be decoded; first: {bad[0][1]}"
        )
    rows = [outcome for outcome in outcomes if isinstance(outcome, Row)]
    kinds = Counter(row.kind for row in rows)
    return Decoded(
        good_N=good_N,
        masks={kind: kinds[kind] for kind in MASK_KINDS},
        masks_degenerate=sum(row.degenerate for row in rows),
        several_frames=sum(row.several for row in rows),
        skipped=tuple(bad),
    )


def _keep_rows(path: Path, array: npt.NDArray[Any], keep_N: BoolArray) -> None:
    with whole_file(path) as partial:
        kept = allocated_memmap(partial, array.dtype, (int(keep_N.sum()), *array.shape[1:]))
        for position, row in enumerate(np.flatnonzero(keep_N)):
            kept[position] = array[row]
        kept.flush()


def available_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
