"""Stage ``judge``: an independent classifier of another architecture, fitted out of fold on train lesions.

Shape legend: N train images, C classes.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from engine.artifacts import decoded_images
from engine.artifacts import judge as judge_file
from engine.artifacts.judge import JudgeFacts, OutOfFold
from engine.classifier.predict import lesion_means, mean_probabilities
from engine.config import Config, JudgeConfig
from engine.parts.context import StageContext
from engine.parts.crossfit_fits import Crossfit, crossfit
from engine.parts.dataset import Dataset, open_dataset
from engine.parts.judge_folds import logit_worker
from engine.stages import base
from engine.stages.outputs import File
from engine.types import IntArray

PERCENTILE = 10.0
"""A synthetic image of a class must look as typical to the judge as all but this share of real lesions."""

Array = npt.NDArray[np.float64]


class Params(base.Params):
    """How the judge is fitted."""

    judge: JudgeConfig

    @classmethod
    def of(cls, config: Config) -> Params:
        """Return what a run of ``config`` reads."""
        return cls(judge=config.judge)


def run(context: StageContext, params: Params) -> None:
    """Fill ``fold_<k>.safetensors``, ``oof.parquet`` and ``judge.json``.

    Val accuracy and recall, of the mean of the folds, are recorded and decide nothing.
    """
    config = params.judge
    dataset = open_dataset(context.inputs["images"], context.inputs["split"])
    train = dataset.where("train")
    result = crossfit(context, dataset, train, config, config.folds, "judge", config.augment)
    for fold, path in enumerate(result.weights):
        shutil.copyfile(path, context.out / judge_file.WEIGHTS.format(fold=fold))
    out_of_fold = OutOfFold(
        image_id=result.table.image_id,
        fold_N=result.fold_N,
        label_N=result.label_N,
        classes=dataset.classes,
        prob_NC=result.prob_NC,
    )
    judge_file.write(out_of_fold, context.out)
    summary(context, dataset, config, result).write(context.out)


def summary(context: StageContext, dataset: Dataset, config: JudgeConfig, result: Crossfit) -> JudgeFacts:
    """Return how good the judge is out of fold and on val, and its thresholds."""
    val = dataset.where("val")
    images = decoded_images.IMAGES.path(context.inputs["images"])
    workers = [logit_worker(context, path, images) for path in result.weights]
    val_prob_NC = mean_probabilities(context.map, workers, dataset.rows[val], "judge on val")
    val_label_N = dataset.labels[val]
    return JudgeFacts(
        model=config.model,
        folds=config.folds,
        classes=dataset.classes,
        oof_accuracy=accuracy(result.prob_NC, result.label_N),
        oof_recall=recall(result.prob_NC, result.label_N, dataset.classes),
        val_accuracy=accuracy(val_prob_NC, val_label_N),
        val_recall=recall(val_prob_NC, val_label_N, dataset.classes),
        thresholds={**thresholds(result.prob_NC, result.label_N, result.table.lesion_id, dataset.classes)},
    )


def accuracy(prob_NC: Array, label_N: IntArray) -> float | None:
    """Return the share of images whose most probable class is their own; None without images."""
    return float(np.mean(np.argmax(prob_NC, axis=1) == label_N)) if len(label_N) else None


def recall(prob_NC: Array, label_N: IntArray, classes: Sequence[str]) -> dict[str, float | None]:
    """Return the accuracy among each class's images; None for a class without images."""
    return {
        name: accuracy(prob_NC[label_N == column], label_N[label_N == column])
        for column, name in enumerate(classes)
    }


def thresholds(
    prob_NC: Array, label_N: IntArray, lesion_N: npt.NDArray[np.str_], classes: Sequence[str]
) -> dict[str, float]:
    """Return, by class, the 10th percentile of the true class's probability among correctly classified lesions.

    A lesion's probabilities are the mean over its images. A class of which no lesion is classified correctly gets the
    percentile over all classes' lesions (1/C if there are none at all), because its own says nothing.
    """
    lesions, first, group_N = np.unique(lesion_N, return_index=True, return_inverse=True)
    mean_GC = lesion_means(prob_NC, group_N)
    label_G = label_N[first]
    own_G = mean_GC[np.arange(len(lesions)), label_G]
    right_G = np.argmax(mean_GC, axis=1) == label_G
    pooled = float(np.percentile(own_G[right_G], PERCENTILE)) if right_G.any() else 1.0 / len(classes)
    found: dict[str, float] = {}
    for column, name in enumerate(classes):
        chosen = own_G[right_G & (label_G == column)]
        found[name] = float(np.percentile(chosen, PERCENTILE)) if len(chosen) else pooled
    return found


STAGE = base.Stage(
    name="judge",
    params=Params,
    run=run,
    inputs=("images", "split"),
    trains=True,
    maps=True,
    foundation=True,
    units=lambda params, _sizes: params.judge.steps * params.judge.folds,
    files=(
        File(judge_file.WEIGHTS.format(fold="<k>"), "the classifier of one fold"),
        judge_file.SCHEMA,
        JudgeFacts,
    ),
)
