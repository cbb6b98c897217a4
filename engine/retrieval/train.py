"""Trains the small CLIP on train images and their metadata captions, where no pre-trained one is given.

Shape legend: N train images, B global batch, V = 2 views an image (masked by Eq. 1, and whole), D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPModel

from engine.config import EmbedderConfig
from engine.retrieval.augment import DRAWS, augment
from engine.retrieval.clip import CLIP_MEAN, CLIP_STD, save_clip, small_clip
from engine.retrieval.contrastive import caption_loss, gather, view_loss
from engine.retrieval.embedding import normalise, to_pixels
from engine.retrieval.tokenizer import build_tokenizer, encode
from engine.training.loop import TrainLog, train
from engine.training.plan import TrainEnv, TrainPlan, balanced_weights, derive_seed, draw_rows
from engine.types import ImageArray, IntArray, StrArray

NAME = "embedder"
_LARGEST_SCALE = 100.0


@dataclass(frozen=True, kw_only=True)
class Examples:
    """What the small CLIP learns from: N train images, one row each.

    ``views`` maps row numbers to the same images twice, uint8 (B, H, W, 3): masked (Eq. 1) and whole.
    ``captions`` are phrases joined by ", ", the diagnosis first; ``label_N`` are class indices.
    """

    captions: StrArray
    lesion_id: StrArray
    label_N: IntArray
    image_size: int
    views: Callable[[IntArray], tuple[ImageArray, ImageArray]]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What the contrastive training weighs; the defaults are choices, not yet compared with others by measurement.

    ``view_weight`` is the share of the image-image term beside the image-caption term, ``view_temperature`` its
    temperature, ``drop_phrase`` the chance that a phrase after the first is left out of a caption (so that short
    prompts are in distribution and captions coincide), ``balance`` the class balance of sampling (0 as they are).
    """

    view_weight: float = 0.5
    view_temperature: float = 0.2
    drop_phrase: float = 0.3
    balance: float = 0.5


def fit(
    config: EmbedderConfig,
    examples: Examples,
    folder: Path,
    checkpoint: Path,
    seed: int,
    env: TrainEnv,
    recipe: Recipe = Recipe(),
) -> TrainLog:
    """Train a small CLIPModel and, on the main worker, save it with its tokenizer into ``folder``.

    Every image of a batch is shown twice, masked and whole, each lightly augmented. Both views are matched with
    the caption, and with each other and with other photographs of the lesion.
    """
    tokenizer = build_tokenizer([str(caption) for caption in examples.captions])
    model = small_clip(config, examples.image_size, tokenizer, derive_seed(seed, NAME, "weights"))
    plan = TrainPlan.of(config, name=NAME, seed=seed)
    weights_N = balanced_weights(examples.label_N, recipe.balance)
    objective = ContrastiveObjective(model, tokenizer, examples, weights_N, plan, env, recipe)
    log = train(model.train(), objective, weights_N, plan, env, checkpoint)
    if env.is_main:
        save_clip(folder, model.cpu().eval(), tokenizer, examples.image_size)
    return log


class ContrastiveObjective:
    """The loss of one step: captions against images, plus ``view_weight`` times images against images."""

    def __init__(
        self,
        model: CLIPModel,
        tokenizer: Any,
        examples: Examples,
        weights_N: np.ndarray[Any, np.dtype[np.float64]],
        plan: TrainPlan,
        env: TrainEnv,
        recipe: Recipe,
    ) -> None:
        """Keep what every step needs; the lesion of each row becomes a number."""
        self._model, self._tokenizer, self._examples = model, tokenizer, examples
        self._weights_N, self._plan, self._env, self._recipe = weights_N, plan, env, recipe
        self._lesion_N = np.unique(examples.lesion_id, return_inverse=True)[1].astype(np.int64)
        self._mean_C11 = torch.tensor(CLIP_MEAN, device=env.device).view(-1, 1, 1)
        self._std_C11 = torch.tensor(CLIP_STD, device=env.device).view(-1, 1, 1)

    def __call__(self, rows: IntArray, step: int, generator: torch.Generator) -> Tensor:
        """Return the loss of the whole global batch; ``rows`` is this worker's shard of it."""
        batch = self._plan.batch_size
        rows_B = draw_rows(self._weights_N, self._plan, step)
        uniform_VBA = torch.rand(2, batch, DRAWS, generator=generator)
        captions_B = self._captions(rows_B, generator)
        own = self._env.shard(np.arange(batch))
        image_RD = torch.cat(
            [
                gather(self._image_features(images, uniform_VBA[view, own]), batch, self._env)
                for view, images in enumerate(self._examples.views(rows))
            ]
        )
        text_BD = gather(self._text_features([captions_B[row] for row in own]), batch, self._env)
        key_B = self._tensor(np.unique(captions_B, return_inverse=True)[1])
        scale = self._model.logit_scale.exp().clamp(max=_LARGEST_SCALE)
        loss = caption_loss(image_RD.float(), text_BD.float(), key_B, scale)
        if self._recipe.view_weight > 0:
            group_R = self._tensor(np.tile(self._lesion_N[rows_B], 2))
            loss = loss + self._recipe.view_weight * view_loss(
                image_RD.float(), group_R, self._recipe.view_temperature
            )
        return loss

    def _captions(self, rows_B: IntArray, generator: torch.Generator) -> list[str]:
        """Captions of the global batch, phrases after the first dropped at random."""
        return [
            drop_phrases(str(caption), self._recipe.drop_phrase, generator)
            for caption in self._examples.captions[rows_B]
        ]

    def _image_features(self, images_BHWC: ImageArray, uniform_BA: Tensor) -> Tensor:
        device = self._env.device
        pixels = augment(to_pixels(images_BHWC).to(device), uniform_BA.to(device))
        pixels = normalise(pixels, self._examples.image_size, self._mean_C11, self._std_C11)
        pooled: Tensor = self._model.vision_model(pixel_values=pixels).pooler_output
        features: Tensor = self._model.visual_projection(pooled)
        return features

    def _text_features(self, captions: list[str]) -> Tensor:
        ids = encode(self._tokenizer, captions).to(self._env.device)
        features: Tensor = self._model.text_projection(self._model.text_model(input_ids=ids).pooler_output)
        return features

    def _tensor(self, values: Any) -> Tensor:
        return torch.as_tensor(np.asarray(values, dtype=np.int64), device=self._env.device)


def drop_phrases(caption: str, chance: float, generator: torch.Generator) -> str:
    """Leave out each phrase after the first with the given chance; draws one number a phrase."""
    first, *others = caption.split(", ")
    draws = torch.rand(len(others), generator=generator)
    return ", ".join([first, *(phrase for phrase, u in zip(others, draws, strict=True) if u >= chance)])
