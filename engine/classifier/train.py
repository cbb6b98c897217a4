"""Fits a classifier or judge: balanced batches, augmentation, smoothed cross-entropy, averaged weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from engine.artifacts import classifier_fit
from engine.artifacts.classifier_fit import FitFacts
from engine.classifier.augment import augment
from engine.classifier.batchnorm import globalize_batch_norm
from engine.classifier.inputs import ImageRows, OpenImages, normalise, to_unit
from engine.classifier.mixing import MixedBatches
from engine.classifier.model import build_model
from engine.classifier.small_maps import shorten_small_maps
from engine.classifier.snapshot import Snapshot, SnapshotWatcher
from engine.classifier.split_norm import Origin, split_batch_norm
from engine.classifier.targets import batch_loss
from engine.classifier.weights import ClassifierMeta, describe, load_classifier, save_classifier
from engine.config import ClassifierConfig, JudgeConfig, MixConfig
from engine.errors import DataError
from engine.training.layout import memory_format
from engine.training.loop import Draw, TrainLog, train
from engine.training.plan import FloatWeights, TrainEnv, TrainPlan, balanced_weights, derive_seed
from engine.types import BoolArray, FloatArray

FitConfig = ClassifierConfig | JudgeConfig


@dataclass(frozen=True, kw_only=True)
class FitJob:
    """One fit, picklable: images by path, N labels, settings, and where the results go.

    ``weights`` is the file written; ``report`` (optional) is the folder that gets classifier.json; ``init`` is an earlier
    fit's weights file to go on from, else None. ``added_N`` and ``synthetic_N`` say which images an arm adds to the
    classifier's own and which of them are synthetic, for ``mix``; None: none are. ``targets_NC`` are target probabilities
    (``engine.classifier.targets``) where some labels are soft; batches are drawn by ``labels_N`` all the same.
    ``loss_weight_N`` are weights in the loss; None: 1. ``snapshot`` is saved on the way.
    """

    images: ImageRows
    labels_N: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    image_size: int
    config: FitConfig
    plan: TrainPlan
    augment: str
    weights: Path
    checkpoint: Path
    report: Path | None = None
    init: Path | None = None
    mix: MixConfig | None = None
    added_N: BoolArray | None = None
    synthetic_N: BoolArray | None = None
    targets_NC: FloatArray | None = None
    loss_weight_N: FloatArray | None = None
    snapshot: Snapshot | None = None


def make_plan(
    config: FitConfig, name: str, seed: int, steps: int | None = None, lr: float | None = None
) -> TrainPlan:
    """Return the training plan of a config section; ``steps`` and ``lr`` replace the section's."""
    changes = {key: value for key, value in (("steps", steps), ("lr", lr)) if value is not None}
    return TrainPlan.of(config, name=name, seed=seed, ema=config.ema, **changes)


def run_job(job: FitJob, env: TrainEnv) -> None:
    """Do one fit in this worker; the main worker writes the files.

    Raises:
        DataError: there is nothing to fit, or ``init`` was made for other classes.
        StageError: the loss diverged.
    """
    env.begin()
    model, meta = starting_model(job)
    log = fit(model, meta, job.images.open(), job.labels_N, job, env)
    if not env.is_main:
        return
    if job.report is not None:
        facts = FitFacts(losses=tuple(log.losses), optimizer_steps=job.plan.steps, n_rows=len(job.labels_N))
        classifier_fit.write(facts, job.report)
    save_classifier(model, meta, job.weights)


def starting_model(job: FitJob) -> tuple[nn.Module, ClassifierMeta]:
    """Return the model a fit starts from: ``init``'s weights, pre-trained ones, or a seeded draw."""
    config = job.config
    if job.init is None:
        seed = derive_seed(job.plan.seed, job.plan.name, "weights")
        arguments = (config.pretrained, config.small_stem)
        meta = describe(config.model, job.classes, job.image_size, *arguments)
        return build_model(config.model, len(job.classes), job.image_size, *arguments, seed), meta
    model, meta = load_classifier(job.init)
    if (meta.model, meta.classes, meta.image_size) != (config.model, job.classes, job.image_size):
        raise DataError(
            f"{job.init} holds {meta.model} for {', '.join(meta.classes)} at {meta.image_size} px, but this fit is "
            f"{config.model} for {', '.join(job.classes)} at {job.image_size} px; train it from scratch"
        )
    return model, meta


def fit(
    model: nn.Module,
    meta: ClassifierMeta,
    images: OpenImages,
    labels_N: npt.NDArray[np.int64],
    job: FitJob,
    env: TrainEnv,
) -> TrainLog:
    """Train ``model`` in place on N images; afterwards it holds the averaged weights and is in eval mode.

    Batches are drawn with n_c^(-balance) weights, so that balance 1 shows every class equally often.
    """
    if len(labels_N) == 0:
        raise DataError(f"{job.plan.name}: there are no images to train on; see the split's counts")
    origin = Origin()
    if env.world > 1:
        model = globalize_batch_norm(model)
    elif job.mix is not None and job.mix.split_batchnorm:
        model = split_batch_norm(model, origin)
    shorten_small_maps(model)
    model.to(env.device).to(memory_format=memory_format(env.device)).train()
    objective = _Objective(
        model=model, meta=meta, images=images, labels_N=labels_N, job=job, env=env, origin=origin
    )
    watcher = (
        None if job.snapshot is None else SnapshotWatcher.begin(job.snapshot, model, meta, job.checkpoint)
    )
    log = train(model, objective, _draw(job), job.plan, env, job.checkpoint, watcher)
    model.eval()
    return log


def _draw(job: FitJob) -> FloatWeights | Draw:
    """How a fit's batches are drawn: by weights alone, or own and added images apart."""
    weights_N = balanced_weights(job.labels_N, job.config.balance)
    if job.mix is None or job.added_N is None:
        return weights_N
    return MixedBatches(weights_N=weights_N, added_N=job.added_N, mix=job.mix, plan=job.plan)


@dataclass(frozen=True, kw_only=True)
class _Objective:
    """The cross-entropy of one worker's share of a batch, with smoothed or soft labels, weighted where images are."""

    model: nn.Module
    meta: ClassifierMeta
    images: OpenImages
    labels_N: npt.NDArray[np.int64]
    job: FitJob
    env: TrainEnv
    origin: Origin

    def __call__(self, rows: npt.NDArray[np.int64], step: int, generator: torch.Generator) -> Tensor:
        """Return the loss; scaled so that the mean over workers is the mean over the global batch."""
        batch = self.job.plan.batch_size
        share = self.env.shard(np.arange(batch))
        shard = slice(int(share[0]), int(share[-1]) + 1)
        with torch.no_grad():
            unit = to_unit(self.images.take(rows), self.env.device)
            unit = augment(unit, self.job.augment, generator, batch, shard)
            x = normalise(unit, self.meta.mean, self.meta.std)
        if self.job.synthetic_N is not None:
            self.origin.set(torch.from_numpy(self.job.synthetic_N[rows]).to(self.env.device))
        label = torch.from_numpy(self.labels_N[rows]).to(self.env.device)
        target, weight = self._of(self.job.targets_NC, rows), self._of(self.job.loss_weight_N, rows)
        logits: Any = self.model(x)
        loss = batch_loss(logits.float(), label, self.job.config.label_smoothing, target, weight)
        return loss * self.env.share_of_mean(len(rows), batch)

    def _of(self, values_N: FloatArray | None, rows: npt.NDArray[np.int64]) -> Tensor | None:
        """Return the rows' values as float32 on the device; None where there are none."""
        return None if values_N is None else torch.from_numpy(values_N[rows]).float().to(self.env.device)
