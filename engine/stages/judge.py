"""Stage ``judge``: an independent classifier of another architecture, fitted out of fold on train lesions.

Shape legend: N train images, C classes.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from engine.artifacts import decoded_images
from engine.artifacts import judge as judge_file
from engine.artifacts.judge import JudgeFacts, OutOfFold
from engine.classifier.calibration import fit_temperature
from engine.classifier.predict import lesion_means, log_probabilities, mean_softmax, member_logits
from engine.config import Config, JudgeConfig
from engine.evaluation.scoring import ScoredSplit, score_split
from engine.parts.context import StageContext
from engine.parts.crossfit_fits import Crossfit, crossfit
from engine.parts.dataset import Dataset, open_dataset
from engine.parts.judge_folds import logit_worker
from engine.stages import base
from engine.stages.outputs import File
from engine.training.plan import derive_seed
from engine.types import IntArray

PERCENTILE = 10.0
"""A synthetic image of a class must look as typical to the judge as all but this share of real lesions."""
DRAWS = 1000
"""Bootstrap draws of lesions behind the intervals of val."""

Array = npt.NDArray[np.float64]


class Params(base.Params):
    """How the judge is fitted, and which classes are malignant."""

    optional: ClassVar[frozenset[str]] = frozenset({"malignant"})

    judge: JudgeConfig
    malignant: list[str] | None = None
    """For the figures of val; None: no figure of malignancy."""

    @classmethod
    def of(cls, config: Config) -> Params:
        """Return what a run of ``config`` reads."""
        return cls(judge=config.judge, malignant=config.data.malignant or None)


def run(context: StageContext, params: Params) -> None:
    """Fill ``fold_<k>.safetensors``, ``oof.parquet`` and ``judge.json``.

    The temperature is fitted on predictions out of fold, so on train alone. Figures of val, of the mean of the folds, are
    recorded and decide nothing.
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
    summary(context, dataset, params, result).write(context.out)


def summary(context: StageContext, dataset: Dataset, params: Params, result: Crossfit) -> JudgeFacts:
    """Return how good the judge is out of fold and on val, its thresholds (at temperature 1) and its temperature."""
    config, val = params.judge, dataset.where("val")
    images = decoded_images.IMAGES.path(context.inputs["images"])
    workers = [logit_worker(context, path, images) for path in result.weights]
    val_logits_KNC = member_logits(context.map, workers, dataset.rows[val], "judge on val")
    val_prob_NC = mean_softmax(val_logits_KNC)
    val_label_N = dataset.labels[val]
    temperature = fit_temperature(log_probabilities(result.prob_NC), result.label_N)
    return JudgeFacts(
        model=config.model,
        folds=config.folds,
        classes=dataset.classes,
        oof_accuracy=accuracy(result.prob_NC, result.label_N),
        oof_recall=recall(result.prob_NC, result.label_N, dataset.classes),
        val_accuracy=accuracy(val_prob_NC, val_label_N),
        val_recall=recall(val_prob_NC, val_label_N, dataset.classes),
        thresholds={**thresholds(result.prob_NC, result.label_N, result.table.lesion_id, dataset.classes)},
        temperature=temperature,
        val=score_split(
            scored_val(dataset, mean_softmax(val_logits_KNC, temperature), params.malignant or ()),
            draws=DRAWS,
            rng=np.random.default_rng(derive_seed(context.seed, "judge", "bootstrap", "val")),
        ),
    )


def scored_val(dataset: Dataset, prob_NC: Array, malignant: Sequence[str]) -> ScoredSplit:
    """Return val with these probabilities, as figures are made of it."""
    val = dataset.where("val")
    return ScoredSplit(
        prob_NC=prob_NC,
        label_N=dataset.labels[val],
        lesion_id=dataset.table.lesion_id[val],
        group_N=dataset.group_N[val],
        classes=dataset.classes,
        malignant=tuple(malignant),
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
    version=3,
    params=Params,
    run=run,
    inputs=("images", "split"),
    trains=True,
    fits_apart=True,
    saving="lower judge.batch_size",
    maps=True,
    foundation=True,
    units=lambda params, _sizes: params.judge.steps * params.judge.folds,
    files=(
        File(judge_file.WEIGHTS.format(fold="<k>"), "the classifier of one fold"),
        judge_file.SCHEMA,
        JudgeFacts,
    ),
)
