"""Stage ``embedder``: copies a pre-trained CLIP or trains the small one; and embeds images for later stages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from engine.artifacts import embedder as embedder_file
from engine.artifacts.embedder import EmbedderFacts
from engine.config import Config, EmbedderConfig
from engine.data.captions import captions
from engine.data.masks import extract_lesion
from engine.errors import DataError
from engine.parts.context import StageContext, launch_fit
from engine.parts.dataset import Dataset, open_dataset
from engine.parts.embed import Extraction
from engine.parts.own_images import sees_unlabelled
from engine.retrieval.clip import copy_pretrained
from engine.retrieval.embedding import Float32Array, level_layers
from engine.retrieval.train import Examples, fit
from engine.stages import base
from engine.stages.outputs import Folder
from engine.training.plan import TrainEnv
from engine.types import ImageArray, IntArray, strings

EmbedChunk = Callable[[IntArray], Float32Array]


class Params(base.GeneratorParams):
    """How the embedder is made and what it looks at."""

    embedder: EmbedderConfig
    data: Extraction

    @classmethod
    def of(cls, config: Config) -> Params:
        """Return what a run of ``config`` reads."""
        return cls(
            embedder=config.embedder, data=Extraction.of(config.data), unlabelled=sees_unlabelled(config)
        )


def run(context: StageContext, params: Params) -> None:
    """Fill ``clip/`` and ``embedder.json`` ; train lesions are all it looks at."""
    config = params.embedder
    if config.pretrained is None:
        level_layers(config.layers, config.levels)
        images, split = context.inputs["images"], context.inputs["split"]
        launch_fit(
            context,
            fit_small,
            config=config,
            crop=params.data.crop,
            images=images,
            split=split,
            unlabelled=params.unlabelled,
        )
        return
    facts = copy_pretrained(config.pretrained, context.out / embedder_file.MODEL)
    layers = level_layers(facts["layers"], config.levels)
    _write_facts(context.out, config, layers, width=facts["width"], text=facts["text"], losses=[])


def fit_small(
    env: TrainEnv,
    *,
    config: EmbedderConfig,
    crop: str,
    images: Path,
    split: Path,
    unlabelled: bool,
    out: Path,
    checkpoint: Path,
    seed: int,
) -> None:
    """Train the small CLIP; the main worker writes the stage's files."""
    examples = train_examples(open_dataset(images, split, unlabelled=unlabelled), crop)
    log = fit(config, examples, out / embedder_file.MODEL, checkpoint, seed, env)
    if env.is_main:
        layers = level_layers(config.layers, config.levels)
        _write_facts(out, config, layers, width=config.width, text=True, losses=log.losses)


def train_examples(dataset: Dataset, crop: str) -> Examples:
    """Return the captions of ``dataset.learned()`` and its images, masked (Eq. 1) and whole, read when asked for."""
    train = dataset.learned()
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


def _write_facts(
    out: Path, config: EmbedderConfig, layers: tuple[int, ...], *, width: int, text: bool, losses: list[float]
) -> None:
    facts = EmbedderFacts(
        pretrained=config.pretrained,
        levels=layers,
        width=width,
        text=text,
        tokens=config.tokens,
        losses=tuple(losses),
    )
    embedder_file.write(facts, out)


STAGE = base.Stage(
    name="embedder",
    params=Params,
    run=run,
    inputs=("images", "split"),
    trains=True,
    saving="lower embedder.batch_size",
    foundation=True,
    units=lambda params, _sizes: 0 if params.embedder.pretrained else params.embedder.steps,
    files=(
        Folder(embedder_file.MODEL, "CLIPModel and tokenizer, Hugging Face layout"),
        EmbedderFacts,
    ),
)
