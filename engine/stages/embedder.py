"""Stage ``embedder``: copies a pre-trained CLIP or trains the small one; and embeds images for later stages."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from engine.config import EmbedderConfig
from engine.data.captions import captions
from engine.data.masks import MaskKind, choose_mask, extract_lesion
from engine.errors import DataError
from engine.parts.dataset import Dataset, open_dataset
from engine.retrieval.clip import copy_pretrained
from engine.retrieval.embedding import CHUNK, Float32Array, LevelEmbedder, level_layers
from engine.retrieval.train import Examples, fit
from engine.stages.base import StageContext, launch_fit
from engine.training.plan import TrainEnv
from engine.types import ImageArray, IntArray, strings

EmbedChunk = Callable[[IntArray], Float32Array]


def run(context: StageContext) -> None:
    """Fill ``clip/`` and ``embedder.json`` (see ARCHITECTURE.md); train lesions are all it looks at."""
    config = EmbedderConfig(**context.params["embedder"])
    if config.pretrained is None:
        level_layers(config.layers, config.levels)
        images, split = context.inputs["images"], context.inputs["split"]
        launch_fit(
            context, fit_small, config=config, crop=context.params["data"]["crop"], images=images, split=split
        )
        return
    facts = copy_pretrained(config.pretrained, context.out / "clip")
    layers = level_layers(facts["layers"], config.levels)
    _write_facts(context.out, config, layers, width=facts["width"], text=facts["text"], losses=[])


def fit_small(
    env: TrainEnv,
    *,
    config: EmbedderConfig,
    crop: str,
    images: Path,
    split: Path,
    out: Path,
    checkpoint: Path,
    seed: int,
) -> None:
    """Train the small CLIP on the train split; the main worker writes the stage's files."""
    examples = train_examples(open_dataset(images, split), crop)
    log = fit(config, examples, out / "clip", checkpoint, seed, env)
    if env.is_main:
        layers = level_layers(config.layers, config.levels)
        _write_facts(out, config, layers, width=config.width, text=True, losses=log.losses)


def train_examples(dataset: Dataset, crop: str) -> Examples:
    """Return the train split's captions and its images, masked (Eq. 1) and whole, read when asked for."""
    train = dataset.where("train")
    if len(train) == 0:
        raise DataError(
            "split: no train image, so the embedder has nothing to learn from; raise data.split.train"
        )
    table = dataset.table.take(train)

    def views(rows: IntArray) -> tuple[ImageArray, ImageArray]:
        stored = dataset.rows[train[rows]]
        whole = np.asarray(dataset.images_NHWC[stored])
        return extract_lesion(whole, np.asarray(dataset.masks_NHW[stored]), crop), whole

    return Examples(
        captions=strings(captions(table)),
        lesion_id=table.lesion_id,
        label_N=dataset.labels[train],
        image_size=int(dataset.images_NHWC.shape[1]),
        views=views,
    )


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

    def load(self) -> EmbedChunk:
        """Open the image tower and the memmaps; return the function from row numbers to levels."""
        torch.set_num_threads(self.threads)
        embedder = LevelEmbedder(self.clip, self.layers, self.tokens, self.device)
        images_NHWC = np.load(self.images, mmap_mode="r", allow_pickle=False)
        masks_NHW = None if self.masks is None else np.load(self.masks, mmap_mode="r", allow_pickle=False)

        def embed(rows: IntArray) -> Float32Array:
            chosen = np.asarray(images_NHWC[rows])
            masks = found_masks(chosen, self.mask) if masks_NHW is None else np.asarray(masks_NHW[rows])
            return embedder(extract_lesion(chosen, masks, self.crop))

        return embed


def found_masks(images_NHWC: ImageArray, mask: MaskKind) -> ImageArray:
    """Return masks (N, H, W) of images that come without: Otsu's, or the whole image with ``mask: none``."""
    return np.stack([choose_mask(image, None, mask)[0] for image in images_NHWC])


def embed_rows(
    context: StageContext, rows: IntArray, what: str, *, images: Path | None = None, masks: Path | None = None
) -> Float32Array:
    """Return levels (N, L, D) of the given rows with the stage's ``embedder`` input, masked by Eq. 1.

    Args:
        context: needs the inputs ``embedder`` and ``images``, the params ``embedder`` and ``data``.
        rows: row numbers in the images file.
        what: names the work in progress bars.
        images: another file of images (N, H, W, 3) uint8, such as synthetic ones; None: the data set's.
        masks: their masks (N, H, W) uint8; None with ``images``: found as ``data.mask`` says (Otsu, or whole).
    """
    facts = read_facts(context.inputs["embedder"])
    worker = EmbedImages(
        clip=context.inputs["embedder"] / "clip",
        layers=tuple(facts["levels"]),
        tokens=context.params["embedder"]["tokens"],
        images=images or context.inputs["images"] / "images.npy",
        masks=masks if images else context.inputs["images"] / "masks.npy",
        mask=context.params["data"]["mask"],
        crop=context.params["data"]["crop"],
        device=context.device,
        threads=context.threads,
    )
    chunks = [rows[at : at + CHUNK] for at in range(0, len(rows), CHUNK)]
    empty = np.zeros((0, len(facts["levels"]), facts["width"]), dtype=np.float32)
    return np.concatenate([empty, *context.map(worker, chunks, what)])


def read_facts(folder: Path) -> dict[str, Any]:
    """Return embedder.json of a finished ``embedder`` stage: its levels, width, and whether it has text."""
    facts: dict[str, Any] = json.loads((folder / "embedder.json").read_text(encoding="utf-8"))
    return facts


def text_folder(folder: Path) -> Path:
    """Return the folder CLIPTextModel and its tokenizer load from.

    Raises:
        DataError: the embedder is an image tower alone, so there are no prompts.
    """
    facts = read_facts(folder)
    if not facts["text"]:
        raise DataError(
            f"embedder.pretrained: {facts['pretrained']} is a CLIPVisionModel without text tower, and prompts need "
            "one; give the whole CLIPModel, or leave it empty to train a small one"
        )
    return folder / "clip"


def _write_facts(
    out: Path, config: EmbedderConfig, layers: tuple[int, ...], *, width: int, text: bool, losses: list[float]
) -> None:
    facts = {
        "pretrained": config.pretrained,
        "levels": list(layers),
        "width": width,
        "text": text,
        "tokens": config.tokens,
        "losses": losses,
    }
    (out / "embedder.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
