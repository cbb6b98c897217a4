"""Fits one classifier a lesion-grouped fold of train and predicts each fold's images with it."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.artifacts import decoded_images
from engine.artifacts import judge as judge_file
from engine.classifier.inputs import ImageRows
from engine.classifier.predict import predict_logits, softmax
from engine.classifier.snapshot import Snapshot
from engine.classifier.targets import target_probabilities
from engine.classifier.train import FitConfig, FitJob, make_plan, run_job
from engine.config import MixConfig
from engine.parts.context import StageContext, launch_each
from engine.parts.dataset import Dataset
from engine.parts.judge_folds import logit_worker
from engine.training.checkpoints import digest_of, plan_facts
from engine.training.folds import lesion_folds
from engine.training.plan import TrainEnv
from engine.training.set_aside import is_sealed, seal
from engine.types import FloatArray, IntArray, LesionTable


@dataclass(frozen=True, kw_only=True)
class Crossfit:
    """Out-of-fold results over n train images, in the order they were given in.

    ``prob_NC`` are probabilities at temperature 1, each from a fit that saw no image of the lesion; ``early_NC`` are those
    of its averaged weights after the first steps, where they were asked for.
    """

    table: LesionTable
    label_N: IntArray
    fold_N: IntArray
    prob_NC: npt.NDArray[np.float64]
    weights: tuple[Path, ...]
    early_NC: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True, kw_only=True)
class Extras:
    """M synthetic images that may train too: rows of ``files``, and the lesions each was made of (parent, neighbours).

    ``soft_MC`` are soft labels, ``weight_M`` weights in the loss; None: hard labels, weight 1.
    """

    files: tuple[Path, ...]
    source_M: IntArray
    row_M: IntArray
    label_M: IntArray
    lesions: tuple[frozenset[str], ...]
    soft_MC: FloatArray | None = None
    weight_M: FloatArray | None = None

    def without(self, lesions: frozenset[str]) -> IntArray:
        """Return the positions of the images that were made of none of these lesions."""
        kept = [m for m, made_of in enumerate(self.lesions) if not made_of & lesions]
        return np.array(kept, dtype=np.int64)


def crossfit(
    context: StageContext,
    dataset: Dataset,
    train: IntArray,
    config: FitConfig,
    folds: int,
    name: str,
    augment: str,
    extras: Extras | None = None,
    mix: MixConfig | None = None,
    early: float | None = None,
) -> Crossfit:
    """Run ``folds`` fits over the train images at positions ``train``, side by side where there is room, and predict.

    A fold's fit sees the train images of the other folds and those of ``extras`` that were made of no lesion of this one.
    A fold whose weights lie whole under ``context.checkpoint`` (an attempt that was killed) is not fitted again. ``early``
    is a share of the steps: the averaged weights after them predict too.

    Raises:
        DataError: fewer train lesions than folds.
    """
    table, label_N, rows = dataset.table.take(train), dataset.labels[train], dataset.rows[train]
    fold_N = lesion_folds(dataset.group_N[train], table.dx, folds, context.seed)
    images = decoded_images.IMAGES.path(context.inputs["images"])
    jobs: list[FitJob] = []
    for fold in range(folds):
        inside, outside = np.flatnonzero(fold_N != fold), np.flatnonzero(fold_N == fold)
        held_out = frozenset(str(lesion) for lesion in table.lesion_id[outside])
        seen = _seen(ImageRows.of(images, rows[inside]), label_N[inside], extras, held_out)
        added_N = seen.images.source_N > 0
        job = FitJob(
            images=seen.images,
            labels_N=seen.label_N,
            targets_NC=seen.targets_NC(config.label_smoothing),
            loss_weight_N=seen.weight_N,
            classes=dataset.classes,
            image_size=int(dataset.images_NHWC.shape[1]),
            config=config,
            plan=make_plan(config, f"{name} fold {fold + 1}/{folds}", context.seed),
            augment=augment,
            mix=mix,
            added_N=added_N,
            synthetic_N=added_N,
            weights=context.checkpoint / judge_file.WEIGHTS.format(fold=fold),
            checkpoint=context.checkpoint / f"fold_{fold}",
        )
        jobs.append(job if early is None else replace(job, snapshot=_snapshot(job, early, _identity(job))))
    launch_each(context, [functools.partial(run_and_seal, job) for job in jobs if not _is_fitted(job)])
    prob_NC = np.zeros((len(train), len(dataset.classes)))
    early_NC = None if early is None else np.zeros_like(prob_NC)
    for fold, job in enumerate(jobs):
        outside = np.flatnonzero(fold_N == fold)
        prob_NC[outside] = _predict(context, job.weights, images, rows[outside], f"{name} out of fold")
        if early_NC is not None and job.snapshot is not None:
            early_NC[outside] = _predict(
                context, job.snapshot.weights, images, rows[outside], f"{name} early"
            )
    return Crossfit(
        table=table,
        label_N=label_N,
        fold_N=fold_N,
        prob_NC=prob_NC,
        weights=tuple(job.weights for job in jobs),
        early_NC=early_NC,
    )


def run_and_seal(job: FitJob, env: TrainEnv) -> None:
    """Fit a fold; what it wrote is marked as whole."""
    run_job(job, env)
    if env.is_main:
        seal(job.weights, _identity(job))


def _is_fitted(job: FitJob) -> bool:
    """Whether all that a fold's fit writes lies there whole."""
    fitted = is_sealed(job.weights, _identity(job), "this fold is fitted again")
    return fitted and (job.snapshot is None or job.snapshot.whole)


def _snapshot(job: FitJob, early: float, identity: str) -> Snapshot:
    """Return what to keep after a share of a fit's steps: at least one step, at most all."""
    step = min(max(1, round(early * job.plan.steps)), job.plan.steps)
    weights = job.weights.with_name(f"early_{job.weights.name}")
    return Snapshot(step=step, weights=weights, identity=digest_of({"fit": identity, "step": step}))


def _predict(
    context: StageContext, weights: Path, images: Path, rows_N: IntArray, what: str
) -> npt.NDArray[np.float64]:
    """Return probabilities (N, C) of rows of the image file, at temperature 1."""
    return softmax(predict_logits(context.map, logit_worker(context, weights, images), rows_N, what))


def _identity(job: FitJob) -> str:
    """Return what a fold's weights were made by: its plan, model, images, labels and weights in the loss."""
    rows = hashlib.sha256()
    for array in (
        job.images.source_N,
        job.images.row_N,
        job.labels_N,
        job.targets_NC,
        job.loss_weight_N,
    ):
        rows.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    config = job.config.model_dump(mode="json")
    return digest_of({
        "plan": plan_facts(job.plan), "config": config, "classes": list(job.classes), "size": job.image_size,
        "augment": job.augment, "rows": rows.hexdigest(),
    })  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What a fold's fit sees: images, their classes, and soft labels and weights where some are not plain."""

    images: ImageRows
    label_N: IntArray
    soft_NC: FloatArray | None = None
    weight_N: FloatArray | None = None

    def targets_NC(self, smoothing: float) -> FloatArray | None:
        """Return the target probabilities; None where all labels are hard."""
        return None if self.soft_NC is None else target_probabilities(self.label_N, self.soft_NC, smoothing)


def _seen(images: ImageRows, label_N: IntArray, extras: Extras | None, held_out: frozenset[str]) -> _Seen:
    """Return images and labels with those of ``extras`` that were made of no held-out lesion."""
    if extras is None:
        return _Seen(images=images, label_N=label_N)
    kept = extras.without(held_out)
    rows = ImageRows(
        files=(*images.files, *extras.files),
        source_N=np.concatenate([images.source_N, len(images.files) + extras.source_M[kept]]),
        row_N=np.concatenate([images.row_N, extras.row_M[kept]]),
    )
    soft_MC, weight_M = extras.soft_MC, extras.weight_M
    hard_NC = None if soft_MC is None else np.full((len(label_N), soft_MC.shape[1]), np.nan)
    return _Seen(
        images=rows,
        label_N=np.concatenate([label_N, extras.label_M[kept]]),
        soft_NC=None if soft_MC is None else np.concatenate([hard_NC, soft_MC[kept]]),
        weight_N=None if weight_M is None else np.concatenate([np.ones(len(label_N)), weight_M[kept]]),
    )
