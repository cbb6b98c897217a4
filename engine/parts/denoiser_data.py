"""Opens what a denoiser learns from: latents, embeddings, neighbours and prompts of the images it may see.

Shape legend: N images that it may see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.artifacts import generator_parts
from engine.artifacts import index as index_file
from engine.config import DenoiserConfig
from engine.data.captions import captions
from engine.diffusion.holdout import held_out
from engine.diffusion.neighbours import same_class_neighbours
from engine.diffusion.prompt import EMPTY
from engine.diffusion.train import DenoiserData
from engine.parts.dataset import open_dataset
from engine.parts.prompts import open_prompts
from engine.training.plan import FloatWeights, balanced_weights
from engine.types import IntArray


@dataclass(frozen=True, kw_only=True)
class DenoiserImages:
    """The images of a denoiser's training, the same for its student's.

    ``weights_N`` draw them, the held-out ones never; ``aside`` are the positions of these; ``prompt_width`` is that of the
    prompt states.
    """

    data: DenoiserData
    weights_N: FloatWeights
    aside: IntArray
    prompt_width: int


def open_denoiser_images(
    inputs: Mapping[str, Path], config: DenoiserConfig, *, unlabelled: bool, device: str
) -> DenoiserImages:
    """Open them from finished ``images``, ``split``, ``embedder``, ``index``, ``latents`` folders (DataError: damaged)."""
    dataset = open_dataset(inputs["images"], inputs["split"], unlabelled=unlabelled)
    rows = dataset.learned()
    table, label_N = dataset.table.take(rows), dataset.labels[rows]
    encoder = open_prompts(inputs["embedder"], config.pretrained, device)
    states, place = encoder.encode_unique(captions(table))
    aside = held_out(dataset.group_N[rows])
    return DenoiserImages(
        data=DenoiserData(
            latents_N2chw=generator_parts.open_latents(inputs["latents"]),
            levels_NLD=index_file.read_levels(inputs["index"]),
            neighbours_NK=same_class_neighbours(
                index_file.read_fused(inputs["index"]), label_N, table.lesion_id
            ),
            prompts_UPW=states,
            prompt_of_N=place,
            null_prompt_PW=encoder.encode([EMPTY])[0],
        ),
        weights_N=balanced_weights(label_N, config.balance) * ~aside,
        aside=np.flatnonzero(aside).astype(np.int64),
        prompt_width=encoder.width,
    )
