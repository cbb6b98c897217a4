"""Fits one classifier a lesion-grouped fold of train and predicts each fold's images with it."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.artifacts import decoded_images
from engine.artifacts import judge as judge_file
from engine.classifier.inputs import ImageRows
from engine.classifier.predict import predict_logits, softmax
from engine.classifier.train import FitConfig, FitJob, make_plan, run_job
from engine.config import MixConfig
from engine.parts.context import StageContext
from engine.parts.dataset import Dataset
from engine.parts.judge_folds import logit_worker
from engine.training.folds import lesion_folds
from engine.types import IntArray, LesionTable


@dataclass(frozen=True, kw_only=True)
class Crossfit:
    """Out-of-fold results over n train images, in the order they were given in.

    ``prob_NC`` are probabilities at temperature 1, each from a fit that saw no image of the lesion.
    """

    table: LesionTable
    label_N: IntArray
    fold_N: IntArray
    prob_NC: npt.NDArray[np.float64]
    weights: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True)
class Extras:
    """M synthetic images that may train too: rows of ``files``, and the lesions each was made of (parent, neighbours)."""

    files: tuple[Path, ...]
    source_M: IntArray
    row_M: IntArray
    label_M: IntArray
    lesions: tuple[frozenset[str], ...]

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
) -> Crossfit:
    """Run ``folds`` fits through ``context.launch`` over the train images at positions ``train``; predict out of fold.

    A fold's fit sees the train images of the other folds and those of ``extras`` that were made of no lesion of this one.
    A fold whose weights are already under ``context.checkpoint`` (an attempt that was killed) is not fitted again.

    Raises:
        DataError: fewer train lesions than folds.
    """
    table, label_N, rows = dataset.table.take(train), dataset.labels[train], dataset.rows[train]
    fold_N = lesion_folds(dataset.group_N[train], table.dx, folds, context.seed)
    images = decoded_images.IMAGES.path(context.inputs["images"])
    prob_NC = np.zeros((len(train), len(dataset.classes)))
    paths = []
    for fold in range(folds):
        inside, outside = np.flatnonzero(fold_N != fold), np.flatnonzero(fold_N == fold)
        held_out = frozenset(str(lesion) for lesion in table.lesion_id[outside])
        seen, seen_label = _with(ImageRows.of(images, rows[inside]), label_N[inside], extras, held_out)
        added_N = seen.source_N > 0
        job = FitJob(
            images=seen,
            labels_N=seen_label,
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
        if not job.weights.exists():
            context.launch(functools.partial(run_job, job))
        worker = logit_worker(context, job.weights, images)
        prob_NC[outside] = softmax(predict_logits(context.map, worker, rows[outside], f"{name} out of fold"))
        paths.append(job.weights)
    return Crossfit(table=table, label_N=label_N, fold_N=fold_N, prob_NC=prob_NC, weights=tuple(paths))


def _with(
    images: ImageRows, label_N: IntArray, extras: Extras | None, held_out: frozenset[str]
) -> tuple[ImageRows, IntArray]:
    """Return images and labels with those of ``extras`` that were made of no held-out lesion."""
    if extras is None:
        return images, label_N
    kept = extras.without(held_out)
    rows = ImageRows(
        files=(*images.files, *extras.files),
        source_N=np.concatenate([images.source_N, len(images.files) + extras.source_M[kept]]),
        row_N=np.concatenate([images.row_N, extras.row_M[kept]]),
    )
    return rows, np.concatenate([label_N, extras.label_M[kept]])
