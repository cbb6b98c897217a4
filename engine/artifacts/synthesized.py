"""Reads and writes ``images.npy`` and ``synthesis.json`` of stage ``synthesize``: the images of a round before any gate.

Shape legend: S samples, H height, W width.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from pydantic import Field

from engine.artifacts.full_disk import allocated_memmap
from engine.artifacts.json_record import JsonRecord
from engine.artifacts.schema import ArraySchema
from engine.types import ImageArray

PICTURES: Final = "synthetic"
"""Folder of one PNG per sample, in the stage's folder and in the run's round."""
STATES: Final = "states.png"
IMAGES: Final = ArraySchema(
    file="images.npy",
    stages=("synthesize",),
    shape="(S, H, W, 3)",
    dtype="uint8",
    meaning="RGB, in the order of conditioning.parquet",
)


class SynthesisFacts(JsonRecord):
    """How the images were made: ``synthesis.json``."""

    FILE: ClassVar[str] = "synthesis.json"
    STAGES: ClassVar[tuple[str, ...]] = ("synthesize",)
    NEWLINE: ClassVar[bool] = False

    generator: str = Field("diffusion", description="diffusion, dcgan, classical or retrieved; since 0.2")
    nfe: float | None = Field(
        description="the denoiser's evaluations per sample, measured; null without samples"
    )
    sampler: str = Field(description="name of the sampler")
    steps: int = Field(description="its steps")
    checkpoint: str = Field(description='digest of the generator\'s weights; "" where it has none')


def read(folder: Path) -> ImageArray:
    """Return ``images.npy`` (S, H, W, 3) uint8 (DataError: absent or damaged)."""
    return IMAGES.read(folder)


def open_images(folder: Path) -> ImageArray:
    """Return the same as a read-only memmap (DataError as ``read``)."""
    return IMAGES.read(folder, mapped=True)


def allocate(shape: tuple[int, ...], folder: Path) -> np.memmap[Any, np.dtype[np.uint8]]:
    """Return ``images.npy`` (S, H, W, 3) as a memmap to be filled, its room on the disk reserved: a round may exceed memory.

    Raises:
        OSError: the disk has not that much room.
    """
    images: np.memmap[Any, np.dtype[np.uint8]] = allocated_memmap(IMAGES.path(folder), np.uint8, shape)
    return images


def write(images_SHWC: ImageArray, folder: Path) -> None:
    """Write ``images.npy``."""
    IMAGES.write(images_SHWC, folder)


def read_facts(folder: Path) -> SynthesisFacts:
    """Read ``synthesis.json`` (DataError: absent, damaged, or a key is missing)."""
    return SynthesisFacts.read(folder)
