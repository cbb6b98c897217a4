"""Stage ``crossfit``: out-of-fold predictions of the classifier's own images, so that hard cases can be mined there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pandas as pd

from engine.config import ClassifierConfig, Config
from engine.parts.context import StageContext, numbered
from engine.parts.crossfit_fits import Extras, crossfit
from engine.parts.dataset import Dataset, open_dataset
from engine.parts.own_images import own_sets
from engine.parts.predictions import prediction_frame
from engine.stages import base
from engine.stages.classifier import ROUND_ONLY, read_section


class Params(base.Params):
    """How the fits across folds go; their steps and rate are those of round 0."""

    unread: ClassVar[Mapping[str, frozenset[str]]] = {"classifier": ROUND_ONLY - {"steps", "lr"}}
    optional: ClassVar[frozenset[str]] = frozenset({"classifier.mix", "train_sets"})

    classifier: ClassifierConfig
    folds: int
    train_sets: list[int] | None = None

    @classmethod
    def of(cls, config: Config, *, adds: bool) -> Params:
        """Return the fits of a round; ``adds``: whether accepted images of earlier rounds train too."""
        return cls(
            classifier=read_section(config.classifier, adds=adds),
            folds=config.loop.crossfit_folds,
            train_sets=own_sets(config),
        )


def run(context: StageContext, params: Params) -> None:
    """Fill ``predictions.parquet`` of the classifier's own images, each predicted by a fit that saw none of its lesion.

    Optional inputs ``accept_<round>`` and ``synthesize_<round>`` bring the images accepted so far, so that a later round
    mines what is still hard. An image made of a held-out lesion (its parent's or a neighbour's) is left out of that fold's
    fit. The fits have round 0's steps and rate, and without synthetic images its augmentation. Probabilities are at
    temperature 1: val is not touched.
    """
    config = params.classifier
    dataset = open_dataset(context.inputs["images"], context.inputs["split"])
    extras = accepted_so_far(context, dataset)
    augment = config.real_augment if extras is None else config.augment
    own = dataset.own(params.train_sets)
    result = crossfit(context, dataset, own, config, params.folds, "crossfit", augment, extras, config.mix)
    frame = prediction_frame(result.table, dataset.classes, result.prob_NC)
    frame.to_parquet(context.out / "predictions.parquet", index=False)


def accepted_so_far(context: StageContext, dataset: Dataset) -> Extras | None:
    """Return the accepted images of the rounds given as inputs; None in the first round."""
    folders = list(
        zip(numbered(context.inputs, "accept"), numbered(context.inputs, "synthesize"), strict=True)
    )
    if not folders:
        return None
    lesion = dict(zip(dataset.table.image_id.tolist(), dataset.table.lesion_id.tolist(), strict=True))
    index = {name: position for position, name in enumerate(dataset.classes)}
    sources: list[int] = []
    rows: list[int] = []
    labels: list[int] = []
    made_of: list[frozenset[str]] = []
    for number, (accept, _) in enumerate(folders):
        frame = pd.read_parquet(accept / "synthetic.parquet")
        columns = (frame[name].tolist() for name in ("accepted", "dx", "parent_image_id", "neighbour_ids"))
        for row, (accepted, dx, parent, neighbours) in enumerate(zip(*columns, strict=True)):
            if accepted:
                sources.append(number)
                rows.append(row)
                labels.append(index[str(dx)])
                names = [str(parent), *(str(name) for name in neighbours if name)]
                made_of.append(frozenset(str(lesion[name]) for name in names))
    return Extras(
        files=tuple(synthesize / "images.npy" for _, synthesize in folders),
        source_M=np.array(sources, dtype=np.int64),
        row_M=np.array(rows, dtype=np.int64),
        label_M=np.array(labels, dtype=np.int64),
        lesions=tuple(made_of),
    )


STAGE = base.Stage(
    name="crossfit",
    version=2,
    params=Params,
    run=run,
    inputs=("images", "split"),
    optional=("accept_#", "synthesize_#"),
    trains=True,
    maps=True,
    units=lambda params, _sizes: params.folds * params.classifier.steps,
    files={
        "predictions.parquet": "of the classifier's own images, each by a fit that saw none of its lesion"
    },
)
