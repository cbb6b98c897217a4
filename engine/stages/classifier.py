"""Stage ``classifier``: fit the classifier on a pool, from scratch or going on from an earlier round's."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from engine.arms import ARMS
from engine.artifacts import classifier_fit, decoded_images
from engine.artifacts import pool as pool_file
from engine.artifacts.classifier_fit import FitFacts
from engine.artifacts.pool import Pool, PoolFacts
from engine.classifier.inputs import ImageRows
from engine.classifier.targets import target_probabilities
from engine.classifier.train import FitJob, make_plan, run_job
from engine.config import ClassifierConfig, Config
from engine.errors import DataError
from engine.parts.context import StageContext
from engine.parts.dataset import open_dataset
from engine.stages import base
from engine.stages.outputs import File
from engine.types import FloatArray, IntArray

ROUND_ONLY = frozenset({"steps", "lr", "round_steps", "round_lr", "round_init"})
"""Classifier keys that the loop turns into a fit's own ``steps`` and ``lr``."""


class Params(base.Params):
    """How one fit goes: the section, its augmentation, its steps and peak learning rate."""

    unread: ClassVar[Mapping[str, frozenset[str]]] = {"classifier": ROUND_ONLY}
    optional: ClassVar[frozenset[str]] = frozenset({"classifier.mix"})

    classifier: ClassifierConfig
    plain: bool
    """Whether the fit uses ``classifier.plain_augment`` instead of ``augment``."""
    steps: int
    lr: float

    @classmethod
    def of(cls, config: Config, arm: str, *, steps: int, continues: bool) -> Params:
        """Return one fit of ``arm``; ``continues``: it goes on from weights, at the rate of later rounds."""
        section = config.classifier
        later = section.round_lr if section.round_lr is not None else section.lr / 3
        return cls(
            classifier=read_section(section, adds=ARMS[arm].adds != "nothing"),
            plain=ARMS[arm].plain,
            steps=steps,
            lr=later if continues else section.lr,
        )


def read_section(section: ClassifierConfig, *, adds: bool) -> ClassifierConfig:
    """Return the section as a fit reads it: without ``mix`` where nothing is added to the classifier's own images.

    Another mix then trains and mines nothing again that does not use it.
    """
    return section if adds else section.model_copy(update={"mix": None})


def run(context: StageContext, params: Params) -> None:
    """Fill ``classifier.safetensors`` and ``classifier.json`` {losses, optimizer_steps, n_rows}."""
    config = params.classifier
    dataset = open_dataset(context.inputs["images"], context.inputs["split"])
    pool, facts = pool_file.read(context.inputs["pool"]), pool_file.read_facts(context.inputs["pool"])
    labels_N = dataset.indices(pool.dx)
    files = (
        decoded_images.IMAGES.path(context.inputs["images"]),
        pool_file.EXTRA.path(context.inputs["pool"]),
    )
    init = context.inputs.get("init")
    job = FitJob(
        images=ImageRows(
            files=files,
            source_N=(pool.source == "extra").astype(np.int64),
            row_N=pool.row_N,
        ),
        labels_N=labels_N,
        classes=dataset.classes,
        image_size=int(dataset.images_NHWC.shape[1]),
        config=config,
        plan=make_plan(config, "classifier", context.seed, params.steps, params.lr),
        augment=config.plain_augment if params.plain else config.augment,
        weights=context.out / classifier_fit.WEIGHTS,
        report=context.out,
        checkpoint=context.checkpoint,
        init=None if init is None else init / classifier_fit.WEIGHTS,
        mix=config.mix,
        added_N=np.arange(len(pool)) >= facts.n_own,
        synthetic_N=pool.origin == "synthetic",
        targets_NC=targets(pool, labels_N, facts, dataset.classes, config.label_smoothing),
        loss_weight_N=pool.weight_N,
    )
    context.launch(functools.partial(run_job, job))


def targets(
    pool: Pool, labels_N: IntArray, facts: PoolFacts, classes: tuple[str, ...], smoothing: float
) -> FloatArray | None:
    """Return the target probabilities (N, C) of a pool's rows; None where all labels are hard.

    Raises:
        DataError: its soft labels are of other classes than the data's.
    """
    if pool.label_NC is None:
        return None
    if facts.classes != classes or pool.label_NC.shape[1] != len(classes):
        raise DataError(
            f"{PoolFacts.FILE}: labels are for classes {', '.join(facts.classes) or 'unknown'}, the data's are "
            f"{', '.join(classes)}; rerun the pool stage"
        )
    return target_probabilities(labels_N, pool.label_NC, smoothing)


STAGE = base.Stage(
    name="classifier",
    version=2,
    params=Params,
    run=run,
    inputs=("images", "split", "pool"),
    optional=("init",),
    trains=True,
    saving="lower classifier.batch_size",
    units=lambda params, _sizes: params.steps,
    files=(
        File(
            classifier_fit.WEIGHTS,
            "weights; the header alone rebuilds the model: model, classes, image size, mean, std, stem",
        ),
        FitFacts,
    ),
)
