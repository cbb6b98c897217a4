"""Stage ``features``: what fidelity figures look at, of every real image in use; synthetic ones get theirs the same way.

Whole images, not extracted lesions: a wrong background is a flaw too, and generated images have no drawn mask.

Shape legend: N images, F feature width.
"""

from __future__ import annotations

import json

import numpy as np

from engine.config import Config, EmbedderConfig
from engine.parts.context import StageContext
from engine.parts.dataset import open_dataset
from engine.parts.features import FeatureChoice, extract
from engine.stages import base

NAMES = {
    "clip": "the run's CLIP (mean of its levels), trained on train lesions",
    "judge": "penultimate layer of one fold of the judge, trained on train lesions",
    "inception": "pool layer of torchvision's inception_v3 (not the TensorFlow weights of published FIDs)",
}


class Params(base.Params):
    """Which features, and the embedder's settings where they are CLIP's."""

    evaluation: FeatureChoice
    embedder: EmbedderConfig

    @classmethod
    def of(cls, config: Config) -> Params:
        """Return what a run of ``config`` reads."""
        return cls(evaluation=FeatureChoice.of(config.evaluation), embedder=config.embedder)


def run(context: StageContext, params: Params) -> None:
    """Fill ``features.npy`` (N, F) float32 in the order of the dataset, and ``features.json`` {name, width}."""
    dataset = open_dataset(context.inputs["images"], context.inputs["split"])
    rows = extract(
        context,
        params.evaluation,
        params.embedder.tokens,
        context.inputs["images"] / "images.npy",
        dataset.rows,
        "features of real images",
    )
    np.save(context.out / "features.npy", rows, allow_pickle=False)
    facts = {"name": NAMES[params.evaluation.features], "width": int(rows.shape[1])}
    (context.out / "features.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


STAGE = base.Stage(
    name="features",
    params=Params,
    run=run,
    inputs=("images", "split", "embedder", "judge"),
    maps=True,
    foundation=True,
    units=lambda _params, sizes: sizes.chunks(sizes.used),
    files={"features.npy": "(N,F) float32 of every image in use", "features.json": "name, width"},
)
