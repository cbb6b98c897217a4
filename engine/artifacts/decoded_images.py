"""Reads and writes ``data.json``, and opens ``images.npy`` and ``masks.npy``: the images decoded once for all stages.

Shape legend: N images, H height, W width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Final

from pydantic import Field

from engine.artifacts.json_record import JsonRecord
from engine.artifacts.schema import ArraySchema
from engine.types import ImageArray

IMAGES: Final = ArraySchema(
    file="images.npy",
    stages=("images",),
    shape="(N, H, W, 3)",
    dtype="uint8",
    meaning="RGB, square, in the order of table.parquet",
)
MASKS: Final = ArraySchema(
    file="masks.npy",
    stages=("images",),
    shape="(N, H, W)",
    dtype="uint8",
    meaning="lesion masks, 0 or 255, cut like their images",
)


class DataFacts(JsonRecord):
    """What was read and decoded: ``data.json``."""

    FILE: ClassVar[str] = "data.json"
    STAGES: ClassVar[tuple[str, ...]] = ("images",)

    classes: tuple[str, ...] = Field(description="class names, sorted")
    n_images: int = Field(description="decoded images")
    unlabelled: int = Field(
        0, description="of those, images without a diagnosis; only: under data.unlabelled: keep"
    )
    n_lesions: int = Field(description="lesions they show")
    counts: dict[str, int] = Field(description="images per class")
    grouped_by: str = Field(
        description="what groups images: patient, lesion, or image where nothing is known"
    )
    masks: dict[str, int] = Field(description="images per kind of mask: file, otsu, none")
    masks_degenerate: int = Field(description="masks that were empty or full, and replaced")
    skipped: tuple[dict[str, Any], ...] = Field(description="{image_id, reason} of each image left out")
    left_out: dict[str, int] = Field(
        default_factory=dict,
        description="files beside the images that are neither image nor mask, and images of which one frame is read; "
        "since 0.3",
    )
    notes: tuple[str, ...] = Field((), description="values of the data that count as unknown, a line each")
    image_size: int = Field(description="side in pixels")
    digest: str = Field(description="sha256 of the table and the pixels")
    labels: tuple[str, ...] = Field((), description="the data's own labels, before data.map_labels")


def read(folder: Path) -> DataFacts:
    """Read ``data.json`` of an ``images`` stage (DataError: absent, damaged, or a key is missing)."""
    return DataFacts.read(folder)


def write(facts: DataFacts, folder: Path) -> None:
    """Write ``data.json``; the arrays are filled in place by the decoder."""
    facts.write(folder)


def open_images(folder: Path) -> ImageArray:
    """Return ``images.npy`` (N, H, W, 3) uint8 as a read-only memmap (DataError: absent or damaged)."""
    return IMAGES.read(folder, mapped=True)


def open_file(path: Path) -> ImageArray:
    """Return an image file of any stage (``images.npy``, ``extra.npy``) as ``open_images`` does: workers are given files."""
    return IMAGES.read_file(path, mapped=True)


def open_masks(folder: Path) -> ImageArray:
    """Return ``masks.npy`` (N, H, W) uint8 as a read-only memmap (DataError: absent or damaged)."""
    return MASKS.read(folder, mapped=True)


def open_mask_file(path: Path) -> ImageArray:
    """Return a mask file of any name as ``open_masks`` does."""
    return MASKS.read_file(path, mapped=True)
