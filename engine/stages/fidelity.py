"""Stage ``fidelity``: how far a round's synthetic images, before any gate, are from real ones; recorded, decides nothing.

Shape legend: S synthetic images, C classes.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from engine.classifier.predict import mean_probabilities
from engine.config import Config, EmbedderConfig
from engine.evaluation.fidelity.figures import ImageSet, fidelity_figures
from engine.parts.context import StageContext
from engine.parts.dataset import open_dataset
from engine.parts.features import FeatureChoice, extract
from engine.parts.judge_folds import judge_workers
from engine.stages import base
from engine.types import strings


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
    frame = pd.read_parquet(context.inputs["condition"] / "conditioning.parquet")
    facts = json.loads((context.inputs["features"] / "features.json").read_text(encoding="utf-8"))
    found: dict[str, object] = {
        "features": facts["name"],
        "n_synthetic": len(frame),
        "overall": None,
        "per_class": {},
    }
    if len(frame):
        images = context.inputs["synthesize"] / "images.npy"
        rows = np.arange(len(frame), dtype=np.int64)
        parents = dataset.positions(strings(frame["parent_image_id"].tolist()))
        real = ImageSet(
            features_NF=np.load(context.inputs["features"] / "features.npy", allow_pickle=False),
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
            dx=strings(frame["dx"].tolist()),
            cluster=dataset.group_N[parents],
        )
        train = dataset.table.split == "train"
        with threadpool_limits(1):  # sums depend on how many threads share them
            found |= fidelity_figures(
                real.take(train),
                real.take(~train),
                synthetic,
                mean_probabilities(context.map, judge_workers(context, images), rows, "inception score"),
                draws=params.evaluation.bootstrap,
                seed=context.seed,
            )
    text = json.dumps(found, indent=1, allow_nan=False)
    (context.out / "fidelity.json").write_text(text + "\n", encoding="utf-8")


STAGE = base.Stage(
    name="fidelity",
    params=Params,
    run=run,
    inputs=("images", "split", "embedder", "judge", "features", "condition", "synthesize"),
    maps=True,
    units=lambda _params, sizes: sizes.chunks(sizes.samples),
    files={
        "fidelity.json": "features, n_synthetic; overall and per class: kid, kid_unseen, fid, precision, recall, density, "
        "coverage, each {value, low, high} or null; overall: inception_score"
    },
)
