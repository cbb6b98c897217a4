"""Pictures for `hardcase data audit`: pairs side by side, the second laid onto the first; masks with their outline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from engine.commands.data_sheet import GREEN, outline
from engine.data.audit.findings import MaskFinding
from engine.data.decoding import decode_image, image_square, open_image
from engine.data.duplicates.candidates import TURNS, turned
from engine.data.duplicates.registration import warp
from engine.data.images import decode_mask
from engine.data.masks import binary_mask
from engine.report.sheets import GAP
from engine.types import ImageArray, LesionTable

TILE = 150
TEXT = 250
MASK_COLUMNS = 6


def pairs_sheet(
    pairs: Sequence[dict[str, Any]],
    table: LesionTable,
    cached_NHWC: ImageArray,
    fit: str,
    columns: int = 1,
) -> Image.Image:
    """Return a row a pair: what is known of it, both images as they are, the second laid onto the first.

    Args:
        pairs: as ``suspicious_pairs`` returns them.
        table: all images.
        cached_NHWC: ``images.npy``, for images without a file.
        fit: ``data.fit``.
        columns: pairs side by side in a row of the sheet.
    """
    rows = -(-len(pairs) // columns)
    wide = TEXT + 3 * (TILE + GAP)
    sheet = Image.new("RGB", (columns * wide, rows * (TILE + GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    position = {str(name): row for row, name in enumerate(table.image_id)}
    for place, pair in enumerate(pairs):
        left, top = place % columns * wide, place // columns * (TILE + GAP)
        draw.text((left + 6, top + 6), _words(pair), fill="black")
        cut = "crop" if pair["kind"] == "same_lesion" else fit  # its placement is one of centred squares
        one, two = (_picture(table, cached_NHWC, position[pair[f"image_id_{k}"]], cut) for k in (1, 2))
        for column, picture in enumerate((one, two, laid_onto(two, pair["transformation"]))):
            sheet.paste(Image.fromarray(picture), (left + TEXT + column * (TILE + GAP), top))
    return sheet


def masks_sheet(masks: Sequence[MaskFinding], table: LesionTable) -> Image.Image:
    """Return whole images with their mask outlined in green (a mask of everything has none) and its problem."""
    rows = -(-len(masks) // MASK_COLUMNS)
    high = TILE + 32
    sheet = Image.new("RGB", (MASK_COLUMNS * (TILE + GAP), rows * high), "white")
    draw = ImageDraw.Draw(sheet)
    position = {str(name): row for row, name in enumerate(table.image_id)}
    for place, mask in enumerate(masks):
        left, top = place % MASK_COLUMNS * (TILE + GAP), place // MASK_COLUMNS * high
        row = position[mask.image_id]
        picture = open_image(str(table.path[row]), TILE)
        pixels = image_square(picture, TILE, "stretch").copy()
        inside_HW = binary_mask(decode_mask(str(table.mask_path[row]), TILE, "stretch", picture)) > 0
        if not inside_HW.all():
            pixels[outline(inside_HW)] = GREEN
        sheet.paste(Image.fromarray(pixels), (left, top))
        draw.text(
            (left + 2, top + TILE + 2), f"{mask.image_id}\n{mask.problem} {mask.coverage:.2%}", fill="black"
        )
    return sheet


def laid_onto(image_HWC: ImageArray, transformation: dict[str, Any]) -> ImageArray:
    """Return the second image of a pair in the first one's frame, by the transformation in the JSON."""
    turn = TURNS.index(transformation["turn"])
    upright = np.moveaxis(turned(np.moveaxis(image_HWC, -1, 0), turn), 0, -1)
    placement = np.array([
        np.log(transformation["zoom"]), np.radians(transformation["angle_degrees"]),
        *(2 * shift for shift in transformation["shift"]),
    ])  # fmt: skip
    return warp(np.ascontiguousarray(upright).astype(np.uint8), placement)


def _picture(table: LesionTable, cached_NHWC: ImageArray, row: int, fit: str) -> npt.NDArray[np.uint8]:
    if str(table.path[row]):
        return decode_image(str(table.path[row]), TILE, fit)
    return decode_image(np.asarray(cached_NHWC[row]), TILE, fit)


def _words(pair: dict[str, Any]) -> str:
    place = pair["transformation"]
    return "\n".join([
        f"{pair['score']:.3f}  {pair['kind']}{'' if pair['sure'] else ', less sure'}",
        *(f"{pair[f'image_id_{k}']}  {pair[f'dx_{k}']}  {pair[f'split_{k}']}\n   {pair[f'lesion_id_{k}']}" for k in (1, 2)),
        f"second: {place['turn']}",
        f"zoom {place['zoom']:.2f}, {place['angle_degrees']:+.1f} degrees",
    ])  # fmt: skip
