"""Embeds images with the ``embedder`` stage's CLIP, masked by Eq. 1, chunk by chunk.

Shape legend: N images, L levels, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from engine.artifacts import decoded_images
from engine.artifacts import embedder as embedder_file
from engine.config import DataConfig
from engine.data.masks import MaskKind, choose_mask, extract_lesion
from engine.errors import DataError
from engine.parts.context import StageContext
from engine.retrieval.embedding import CHUNK, Float32Array, LevelEmbedder
from engine.types import ImageArray, IntArray

EmbedChunk = Callable[[IntArray], Float32Array]


class Extraction(BaseModel):
    """How a lesion is taken out of its image (Eq. 1): ``data.crop`` and ``data.mask``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    crop: Literal["none", "bbox"]
    mask: MaskKind

    @classmethod
    def of(cls, data: DataConfig) -> Extraction:
        """Return what the data section says."""
        return cls(crop=data.crop, mask=data.mask)


WHOLE = Extraction(crop="none", mask="none")
"""The image as it is."""


@dataclass(frozen=True, kw_only=True)
class EmbedImages:
    """Recipe (a ChunkWorker) for levels (n, L, D) of chunks of at most 32 row numbers of an images file.

    Images are masked by Eq. 1; without a file of masks, by the mask that ``mask`` (``data.mask``) finds.
    """

    clip: Path
    layers: tuple[int, ...]
    tokens: Literal["cls", "patches"]
    images: Path
    masks: Path | None
    mask: MaskKind
    crop: str
    device: str
    threads: int
    precision: str

    def load(self) -> EmbedChunk:
        """Open the image tower and the memmaps; return the function from row numbers to levels."""
        torch.set_num_threads(self.threads)
        embedder = LevelEmbedder(self.clip, self.layers, self.tokens, self.device, self.precision)
        images_NHWC = decoded_images.open_file(self.images)
        masks_NHW = None if self.masks is None else decoded_images.open_mask_file(self.masks)

        def embed(rows: IntArray) -> Float32Array:
            chosen = np.asarray(images_NHWC[rows])
            masks = found_masks(chosen, self.mask) if masks_NHW is None else np.asarray(masks_NHW[rows])
            return embedder(extract_lesion(chosen, masks, self.crop))

        return embed


def found_masks(images_NHWC: ImageArray, mask: MaskKind) -> ImageArray:
    """Return masks (N, H, W) of images that come without: Otsu's, or the whole image with ``mask: none``."""
    return np.stack([choose_mask(image, None, mask)[0] for image in images_NHWC])


def embed_rows(
    context: StageContext,
    rows: IntArray,
    what: str,
    *,
    tokens: Literal["cls", "patches"],
    cut: Extraction,
    images: Path | None = None,
    masks: Path | None = None,
    precision: str | None = None,
) -> Float32Array:
    """Return levels (N, L, D) of the given rows with the stage's ``embedder`` input, masked by Eq. 1.

    Args:
        context: needs the inputs ``embedder`` and ``images``.
        rows: row numbers in the images file.
        what: names the work in progress bars.
        tokens: ``embedder.tokens``.
        cut: how a lesion is taken out of its image.
        images: another file of images (N, H, W, 3) uint8, such as synthetic ones; None: the data set's.
        masks: their masks (N, H, W) uint8; None with ``images``: found as ``cut.mask`` says (Otsu, or whole).
        precision: of the tower; None: the run's.
    """
    facts = embedder_file.read(context.inputs["embedder"])
    worker = EmbedImages(
        clip=context.inputs["embedder"] / embedder_file.MODEL,
        layers=facts.levels,
        tokens=tokens,
        images=images or decoded_images.IMAGES.path(context.inputs["images"]),
        masks=masks if images else decoded_images.MASKS.path(context.inputs["images"]),
        mask=cut.mask,
        crop=cut.crop,
        device=context.device,
        threads=context.threads,
        precision=precision or context.precision,
    )
    chunks = [rows[at : at + CHUNK] for at in range(0, len(rows), CHUNK)]
    empty = np.zeros((0, len(facts.levels), facts.width), dtype=np.float32)
    return np.concatenate([empty, *context.map(worker, chunks, what)])


def text_folder(folder: Path) -> Path:
    """Return the folder CLIPTextModel and its tokenizer load from.

    Raises:
        DataError: the embedder is an image tower alone, so there are no prompts.
    """
    facts = embedder_file.read(folder)
    if not facts.text:
        raise DataError(
            f"embedder.pretrained: {facts.pretrained} is a CLIPVisionModel without text tower, and prompts need "
            "one; give the whole CLIPModel, or leave it empty to train a small one"
        )
    return folder / embedder_file.MODEL
