"""Opens what a denoiser learns from: latents, embeddings, neighbours and prompts of the images it may see."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from engine.artifacts import generator_parts
from engine.artifacts import index as index_file
from engine.data.captions import captions
from engine.diffusion.neighbours import same_class_neighbours
from engine.diffusion.prompt import EMPTY, PromptEncoder
from engine.diffusion.train import DenoiserData
from engine.parts.dataset import Dataset
from engine.types import IntArray


def open_denoiser_data(
    dataset: Dataset, rows: IntArray, inputs: Mapping[str, Path], encoder: PromptEncoder
) -> DenoiserData:
    """Return the data of the images ``rows``, from finished ``index`` and ``latents`` folders (DataError: damaged)."""
    table = dataset.table.take(rows)
    states, place = encoder.encode_unique(captions(table))
    fused = index_file.read_fused(inputs["index"])
    return DenoiserData(
        latents_N2chw=generator_parts.open_latents(inputs["latents"]),
        levels_NLD=index_file.read_levels(inputs["index"]),
        neighbours_NK=same_class_neighbours(fused, dataset.labels[rows], table.lesion_id),
        prompts_UPW=states,
        prompt_of_N=place,
        null_prompt_PW=encoder.encode([EMPTY])[0],
    )
