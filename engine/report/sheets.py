"""Pictures to look at: rows by class, captioned tiles, and samples on their way from noise.

Shape legend: K images of a class, H side. The bytes of a sheet depend on the arguments alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from engine.diffusion.states import State
from engine.types import ImageArray

GAP, MARGIN, HEADER = 4, 16, 28
INK, PAPER = (30, 30, 30), (255, 255, 255)
GROUPS = ("real", "VAE reconstruction", "synthetic")
CELL = 96
"""Side of a captioned tile, pixels."""
CAPTION = 14
CAPTIONED_COLUMNS = 10


def labelled_rows(
    rows: Mapping[str, Sequence[Image.Image]], columns: int, tile: int, label: int
) -> Image.Image:
    """Return a sheet with one row of tiles per label, at most ``columns`` of side ``tile``; ``label``: width of the text."""
    sheet = Image.new("RGB", (label + columns * (tile + GAP), len(rows) * (tile + GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (text, tiles) in enumerate(rows.items()):
        top = row * (tile + GAP)
        draw.text((6, top + tile // 2 - 10), text, fill="black")
        for column, picture in enumerate(tiles):
            sheet.paste(picture, (label + column * (tile + GAP), top))
    return sheet


def captioned_sheet(tiles: list[ImageArray], captions: list[str], path: Path) -> None:
    """Write tiles (H, W, 3) uint8 in rows of CAPTIONED_COLUMNS, each with its caption below."""
    rows = (len(tiles) + CAPTIONED_COLUMNS - 1) // CAPTIONED_COLUMNS
    columns = min(CAPTIONED_COLUMNS, len(tiles))
    sheet = Image.new("RGB", (columns * (CELL + 4), rows * (CELL + CAPTION + 4)), "white")
    draw = ImageDraw.Draw(sheet)
    for position, (tile, caption) in enumerate(zip(tiles, captions, strict=True)):
        left, top = (
            position % CAPTIONED_COLUMNS * (CELL + 4),
            position // CAPTIONED_COLUMNS * (CELL + CAPTION + 4),
        )
        sheet.paste(Image.fromarray(tile).resize((CELL, CELL), Image.Resampling.BICUBIC), (left, top))
        draw.text((left + 2, top + CELL + 1), caption, fill="black")
    sheet.save(path)


def draw_states(states: Sequence[State], path: Path, most: int, tile: int = 72) -> None:
    """Write a PNG: two rows per sample (what the sampler had, its estimate of the image), one column per timestep."""
    count = min(most, len(states[0].noisy_BHWC))
    font = ImageFont.load_default(13)
    left = 16 + int(font.getlength("estimate"))
    size = (left + len(states) * (tile + GAP), HEADER + count * (2 * (tile + GAP) + MARGIN))
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    for column, state in enumerate(states):
        pen.text((left + column * (tile + GAP), 6), f"t = {state.timestep:.0f}", fill=INK, font=font)
    for sample in range(count):
        top = HEADER + sample * (2 * (tile + GAP) + MARGIN)
        for line, name in enumerate(("noisy", "estimate")):
            height = top + line * (tile + GAP)
            pen.text((8, height + tile // 2 - 8), name, fill=INK, font=font)
            images = [(s.noisy_BHWC if line == 0 else s.clean_BHWC)[sample] for s in states]
            _paste_row(sheet, np.stack(images), left, height, tile)
    sheet.save(path, format="PNG", compress_level=6)


def class_sheet(
    real_by_class: Mapping[str, ImageArray],
    recon_by_class: Mapping[str, ImageArray],
    synthetic_by_class: Mapping[str, ImageArray],
    path: Path,
    tile: int = 96,
) -> None:
    """Write a PNG: one row per class (sorted), three groups of columns with their titles.

    Args:
        real_by_class: (K, H, H, 3) uint8 by class name.
        recon_by_class: the same images, reconstructed.
        synthetic_by_class: synthetic images; a class may have none.
        path: of the PNG.
        tile: side an image is drawn at, pixels.
    """
    groups = (real_by_class, recon_by_class, synthetic_by_class)
    names = sorted(real_by_class)
    most = [max((len(group.get(name, ())) for name in names), default=0) for group in groups]
    font = ImageFont.load_default(14)
    label = 24 + max((int(font.getlength(name)) for name in names), default=0)
    starts = [label]
    for count in most[:-1]:
        starts.append(starts[-1] + count * (tile + GAP) + MARGIN)
    size = (starts[-1] + most[-1] * (tile + GAP) + MARGIN, HEADER + len(names) * (tile + GAP) + GAP)
    sheet = Image.new("RGB", size, PAPER)
    pen = ImageDraw.Draw(sheet)
    for title, start, count in zip(GROUPS, starts, most, strict=True):
        if count:
            pen.text((start, 6), title, fill=INK, font=font)
    for row, name in enumerate(names):
        top = HEADER + row * (tile + GAP)
        pen.text((12, top + tile // 2 - 8), name, fill=INK, font=font)
        for group, start in zip(groups, starts, strict=True):
            _paste_row(sheet, group.get(name), start, top, tile)
    sheet.save(path, format="PNG", compress_level=6)


def _paste_row(sheet: Image.Image, images_KHWC: ImageArray | None, left: int, top: int, tile: int) -> None:
    for column, image in enumerate(images_KHWC if images_KHWC is not None else ()):
        drawn = Image.fromarray(image).resize((tile, tile), Image.Resampling.BICUBIC)
        sheet.paste(drawn, (left + column * (tile + GAP), top))
