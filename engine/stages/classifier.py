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
from engine.classifier.inputs import ImageRows
from engine.classifier.train import FitJob, make_plan, run_job
from engine.config import ClassifierConfig, Config
from engine.parts.context import StageContext
from engine.parts.dataset import open_dataset
from engine.stages import base
from engine.stages.outputs import File

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
    pool = pool_file.read(context.inputs["pool"])
    index = {name: position for position, name in enumerate(dataset.classes)}
    own = pool_file.read_facts(context.inputs["pool"]).n_own
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
        labels_N=np.array([index[str(dx)] for dx in pool.dx], dtype=np.int64),
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
        added_N=np.arange(len(pool)) >= own,
        synthetic_N=pool.origin == "synthetic",
    )
    context.launch(functools.partial(run_job, job))


STAGE = base.Stage(
    name="classifier",
    params=Params,
    run=run,
    inputs=("images", "split", "pool"),
    optional=("init",),
    trains=True,
    units=lambda params, _sizes: params.steps,
    files=(
        File(
            classifier_fit.WEIGHTS,
            "weights; the header alone rebuilds the model: model, classes, image size, mean, std, stem",
        ),
        FitFacts,
    ),
)
