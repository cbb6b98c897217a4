"""Stage ``crossfit``: out-of-fold predictions of the classifier's own images, so that hard cases can be mined there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt

from engine.arms import ENGINE
from engine.artifacts import predictions as predictions_file
from engine.artifacts import synthesized, synthetic
from engine.config import ClassifierConfig, Config
from engine.parts.context import StageContext, numbered
from engine.parts.crossfit_fits import Extras, crossfit
from engine.parts.dataset import Dataset, open_dataset
from engine.parts.own_images import own_sets
from engine.parts.soft_labels import SoftLabels, judged_samples
from engine.stages import base
from engine.stages.classifier import ROUND_ONLY, read_section
from engine.types import Predictions, strings
from policies import registry

EARLY_SHARE: Final = 0.15
"""Share of the steps after which the weights predict too, for a mining policy that wants it and names none."""


class Params(base.Params):
    """How the fits across folds go; their steps and rate are those of round 0."""

    unread: ClassVar[Mapping[str, frozenset[str]]] = {"classifier": ROUND_ONLY - {"steps", "lr"}}
    optional: ClassVar[frozenset[str]] = frozenset({"classifier.mix", "train_sets", "labels", "early"})

    classifier: ClassifierConfig
    folds: int
    train_sets: list[int] | None = None
    labels: SoftLabels | None = None
    """How accepted images are labelled and weighted, as in ``hard``'s pool. None: by their class, with weight 1."""
    early: float | None = None
    """Share of the steps after which the weights predict too, for mining policies that declare ``wants_early``."""

    @classmethod
    def of(cls, config: Config, *, adds: bool) -> Params:
        """Return the fits of a round; ``adds``: whether accepted images of earlier rounds train too."""
        return cls(
            classifier=read_section(config.classifier, adds=adds),
            folds=config.loop.crossfit_folds,
            train_sets=own_sets(config),
            labels=SoftLabels.of(config, ENGINE) if adds else None,
            early=early_share(config),
        )


def early_share(config: Config) -> float | None:
    """Return the share of the steps that the mining policy wants early predictions of; None: it wants none.

    It is the policy's parameter ``share``; EARLY_SHARE where it has none.
    """
    policy = registry.make("mining", config.policy.mining)
    return float(getattr(policy, "share", EARLY_SHARE)) if policy.wants_early else None


def run(context: StageContext, params: Params) -> None:
    """Fill ``predictions.parquet`` of the classifier's own images, each predicted by a fit that saw none of its lesion.

    With ``early`` there is ``early.parquet`` too: the same by each fit's averaged weights after that share of its steps.

    Optional inputs ``accept_<round>`` and ``synthesize_<round>`` bring the images accepted so far, so that a later round
    mines what is still hard. An image made of a held-out lesion (its parent's or a neighbour's) is left out of that fold's
    fit. The fits have round 0's steps, rate and augmentation. Probabilities are at temperature 1: val is not touched.
    """
    config = params.classifier
    dataset = open_dataset(context.inputs["images"], context.inputs["split"])
    extras = accepted_so_far(context, dataset, params.labels)
    own = dataset.own(params.train_sets)
    result = crossfit(
        context, dataset, own, config, params.folds, "crossfit", config.augment,
        extras=extras, mix=config.mix, early=params.early,
    )  # fmt: skip
    predictions = Predictions(
        image_id=result.table.image_id,
        classes=dataset.classes,
        prob_NC=result.prob_NC,
        label_N=result.label_N,
        split=result.table.split,
    )
    predictions_file.write(predictions, context.out)
    if result.early_NC is not None:
        early = replace(predictions, prob_NC=result.early_NC)
        predictions_file.write(early, context.out, schema=predictions_file.EARLY)


def accepted_so_far(context: StageContext, dataset: Dataset, how: SoftLabels | None = None) -> Extras | None:
    """Return the accepted images of the rounds given as inputs; None in the first round.

    ``how`` they are labelled and weighted: None for hard labels and weight 1.
    """
    folders = list(
        zip(numbered(context.inputs, "accept"), numbered(context.inputs, "synthesize"), strict=True)
    )
    if not folders:
        return None
    lesion = dict(zip(dataset.table.image_id.tolist(), dataset.table.lesion_id.tolist(), strict=True))
    sources: list[int] = []
    rows: list[int] = []
    labels: list[str] = []
    judged: list[npt.NDArray[np.float64]] = []
    made_of: list[frozenset[str]] = []
    for number, (accept, _) in enumerate(folders):
        table = synthetic.read(accept)
        samples = table.samples
        kept = np.flatnonzero(table.accepted_S)
        for row in kept.tolist():
            sources.append(number)
            rows.append(row)
            labels.append(str(samples.label_S[row]))
            names = [str(samples.parent_image_id[row]), *samples.neighbour_ids_SK[row].tolist()]
            made_of.append(frozenset(str(lesion[name]) for name in names if name))
        if how is not None and how.soft:
            judged.append(judged_samples(accept, dataset.classes)[kept])
    label_M = dataset.indices(strings(labels))
    return Extras(
        files=tuple(synthesized.IMAGES.path(synthesize) for _, synthesize in folders),
        source_M=np.array(sources, dtype=np.int64),
        row_M=np.array(rows, dtype=np.int64),
        label_M=label_M,
        lesions=tuple(made_of),
        soft_MC=how.labels(np.concatenate(judged), label_M) if how is not None and judged else None,
        weight_M=None if how is None or how.weight == 1.0 else np.full(len(label_M), how.weight),
    )


STAGE = base.Stage(
    name="crossfit",
    version=4,
    params=Params,
    run=run,
    inputs=("images", "split"),
    optional=("accept_#", "synthesize_#"),
    trains=True,
    fits_apart=True,
    saving="lower classifier.batch_size",
    maps=True,
    units=lambda params, _sizes: params.folds * params.classifier.steps,
    files=(predictions_file.SCHEMA, predictions_file.EARLY),
)
