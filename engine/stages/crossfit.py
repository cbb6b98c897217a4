"""Stage ``crossfit``: out-of-fold predictions of train, so that hard cases can be mined there without a mine split."""

from __future__ import annotations

from engine.config import ClassifierConfig
from engine.stages.base import StageContext
from engine.stages.crossfitting import crossfit
from engine.stages.dataset import open_dataset
from engine.stages.predictions import prediction_frame


def run(context: StageContext) -> None:
    """Fill ``predictions.parquet`` of the train images, each predicted by a fit that saw no image of its lesion.

    Params: ``classifier``, ``folds``. The fits are round 0's (its steps, rate and augmentation); their probabilities
    are at temperature 1: val is not touched.
    """
    config = ClassifierConfig.model_validate(context.params["classifier"])
    dataset = open_dataset(context.inputs["images"], context.inputs["split"])
    folds = int(context.params["folds"])
    result = crossfit(context, dataset, config, folds, "crossfit", config.real_augment)
    frame = prediction_frame(result.table, dataset.classes, result.prob_NC)
    frame.to_parquet(context.out / "predictions.parquet", index=False)
