"""Draws what a planted subtype looks like: its look-alike, its class, and the same lesions at several difficulties."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PIL import Image

from engine.config import BlindSpotConfig, PhantomConfig
from engine.data.phantom.blind_spot import SUBTYPES
from engine.data.phantom.lesions import PhantomLesion, draw_lesions, render
from engine.report.sheets import labelled_rows

COLUMNS: Final = 12
DIFFICULTIES: Final = (0.0, 0.4, 0.8)
TILE: Final = 96


def draw_subtype(phantom: PhantomConfig, spot: BlindSpotConfig, side: int, seed: int, path: Path) -> Path:
    """Write a PNG: look-alike, class, and the subtype at DIFFICULTIES and at ``spot``'s own; columns show one lesion.

    Args:
        phantom: how phantoms are drawn, with or without a blind spot.
        spot: the blind spot to show.
        side: of the images, pixels.
        seed: of the phantoms.
        path: where the PNG goes.
    """

    def hidden(difficulty: float) -> list[PhantomLesion]:
        shown = spot.model_copy(update={"share": 1.0, "difficulty": difficulty})
        many = draw_lesions(phantom.model_copy(update={"blind_spot": shown}), seed)
        return [lesion for lesion in many if lesion.hidden]

    plain = draw_lesions(phantom.model_copy(update={"blind_spot": None}), seed)
    like = SUBTYPES[spot.dx].like
    rows = {f"{name}": [lesion for lesion in plain if lesion.dx == name] for name in (like, spot.dx)}
    for difficulty in sorted({*DIFFICULTIES, spot.difficulty}):
        rows[f"difficulty {difficulty:g}"] = hidden(difficulty)
    tiles = {name: _tiles(lesions, side) for name, lesions in rows.items()}
    labelled_rows(tiles, COLUMNS, TILE, 100).save(path)
    return path


def _tiles(lesions: Sequence[PhantomLesion], side: int) -> list[Image.Image]:
    pictures = (Image.fromarray(render(lesion, 0, side)[0]) for lesion in lesions[:COLUMNS])
    return [picture.resize((TILE, TILE), Image.Resampling.NEAREST) for picture in pictures]
