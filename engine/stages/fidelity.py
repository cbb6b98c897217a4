"""Stage ``fidelity``: how far a round's synthetic images, before any gate, are from real ones; recorded, decides nothing.

Shape legend: S synthetic images, C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from engine.artifacts import conditioning, synthesized
from engine.artifacts import features as features_file
from engine.artifacts import fidelity as fidelity_file
from engine.artifacts.fidelity import Fidelity
from engine.classifier.predict import mean_probabilities
from engine.config import Config, EmbedderConfig
from engine.evaluation.fidelity.figures import ImageSet, fidelity_figures
from engine.parts.context import StageContext
from engine.parts.dataset import open_dataset
from engine.parts.features import FeatureChoice, extract
from engine.parts.judge_folds import judge_workers
from engine.stages import base


class Choice(FeatureChoice):
    """Which features, and how many bootstrap draws."""

    bootstrap: int


class Params(base.Params):
    """Which features are compared and how intervals are drawn."""

    evaluation: Choice
    embedder: EmbedderConfig

    @classmethod
    def of(cls, config: Config) -> Params:
        """Return what a run of ``config`` measures."""
        section = config.evaluation
        choice = Choice(features=section.features, inception=section.inception, bootstrap=section.bootstrap)
        return cls(evaluation=choice, embedder=config.embedder)


def run(context: StageContext, params: Params) -> None:
    """Fill ``fidelity.json``: features, n_synthetic, and fidelity_figures' overall and per_class (empty: null)."""
    dataset = open_dataset(context.inputs["images"], context.inputs["split"])
    samples = conditioning.read_samples(context.inputs["condition"])
    figures: dict[str, Any] = {"overall": None, "per_class": {}}
    if len(samples):
        images = synthesized.IMAGES.path(context.inputs["synthesize"])
        rows = np.arange(len(samples), dtype=np.int64)
        parents = dataset.positions(samples.parent_image_id)
        real = ImageSet(
            features_NF=features_file.read(context.inputs["features"]),
            dx=dataset.table.dx,
            cluster=dataset.group_N,
        )
        synthetic = ImageSet(
            features_NF=extract(
                context,
                params.evaluation,
                params.embedder.tokens,
                images,
                rows,
                "features of synthetic images",
            ),
            dx=samples.label_S,
            cluster=dataset.group_N[parents],
        )
        train = dataset.table.split == "train"
        with threadpool_limits(1):  # sums depend on how many threads share them
            figures = fidelity_figures(
                real.take(train),
                real.take(~train),
                synthetic,
                mean_probabilities(context.map, judge_workers(context, images), rows, "inception score"),
                draws=params.evaluation.bootstrap,
                seed=context.seed,
            )
    facts = features_file.read_facts(context.inputs["features"])
    found = Fidelity(features=facts.name, n_synthetic=len(samples), **figures)
    fidelity_file.write(found, context.out)


STAGE = base.Stage(
    name="fidelity",
    version=2,
    params=Params,
    run=run,
    inputs=("images", "split", "embedder", "judge", "features", "condition", "synthesize"),
    maps=True,
    units=lambda _params, sizes: sizes.chunks(sizes.samples),
    files=(Fidelity,),
)
