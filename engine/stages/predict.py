"""Stage ``predict``: calibrated class probabilities of every used image.

Val fits the temperature and the operating point and nothing else; with a ``calibration`` input (external
validation) nothing is fitted at all.
"""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict

from engine.artifacts import calibration as calibration_file
from engine.artifacts import classifier_fit, decoded_images
from engine.artifacts import predictions as predictions_file
from engine.artifacts.calibration import Calibration
from engine.classifier.calibration import calibrate
from engine.classifier.predict import predict_logits, softmax
from engine.classifier.weights import read_meta
from engine.config import Config
from engine.errors import DataError
from engine.parts.context import StageContext
from engine.parts.dataset import Dataset, open_dataset
from engine.parts.judge_folds import logit_worker
from engine.stages import base
from engine.types import IntArray, Predictions


class OperatingPoints(BaseModel):
    """The operating points that val fixes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    specificity: float
    melanoma: str | None
    melanoma_sensitivity: float


class Params(base.Params):
    """Which operating points, and which classes are malignant."""

    evaluation: OperatingPoints
    malignant: list[str]

    @classmethod
    def of(cls, config: Config) -> Params:
        """Return what a run of ``config`` fixes on val."""
        section = config.evaluation
        points = OperatingPoints(
            specificity=section.specificity,
            melanoma=section.melanoma,
            melanoma_sensitivity=section.melanoma_sensitivity,
        )
        return cls(evaluation=points, malignant=config.data.malignant)


def run(context: StageContext, params: Params) -> None:
    """Fill ``predictions.parquet`` and ``calibration.json``.

    With the optional input ``calibration``, a folder, its calibration.json is used as it is.

    Raises:
        DataError: an image's dx is not among the classifier's classes (names them), or the image sizes differ.
    """
    dataset = open_dataset(context.inputs["images"], context.inputs["split"])
    weights = context.inputs["classifier"] / classifier_fit.WEIGHTS
    classes = read_meta(weights).classes
    label_N = _labels(dataset, classes)
    worker = logit_worker(context, weights, decoded_images.IMAGES.path(context.inputs["images"]))
    logits_NC = predict_logits(context.map, worker, dataset.rows, "predict")
    if "calibration" in context.inputs:
        calibration = _fixed(context, classes)
    else:
        val = dataset.where("val")
        calibration = calibrate(
            logits_NC[val], label_N[val], classes, params.malignant, **params.evaluation.model_dump()
        )
    prob_NC = softmax(logits_NC, calibration.temperature)
    table = dataset.table
    predictions = Predictions(
        image_id=table.image_id, classes=classes, prob_NC=prob_NC, label_N=label_N, split=table.split
    )
    predictions_file.write(predictions, context.out)
    calibration_file.write(calibration, context.out)


def _labels(dataset: Dataset, classes: tuple[str, ...]) -> IntArray:
    index = {name: position for position, name in enumerate(classes)}
    unknown = np.array([str(dx) not in index for dx in dataset.table.dx], dtype=np.bool_)
    if unknown.any():
        names = sorted({str(dx) for dx in dataset.table.dx[unknown]})
        raise DataError(
            f"dx {', '.join(names)}: {int(unknown.sum())} images (first {dataset.table.image_id[unknown][0]}) show "
            f"classes the classifier does not know ({', '.join(classes)}); rename or drop them with data.map_labels"
        )
    return np.array([index[str(dx)] for dx in dataset.table.dx], dtype=np.int64)


def _fixed(context: StageContext, classes: tuple[str, ...]) -> Calibration:
    folder = context.inputs["calibration"]
    calibration = calibration_file.read(folder)
    if calibration.classes != classes:
        raise DataError(
            f"{Calibration.path(folder)} is for classes {', '.join(calibration.classes)}, but the classifier's are "
            f"{', '.join(classes)}; give the calibration of the same round and arm"
        )
    return calibration


STAGE = base.Stage(
    name="predict",
    version=2,
    params=Params,
    run=run,
    inputs=("images", "split", "classifier"),
    optional=("calibration",),
    maps=True,
    units=lambda _params, sizes: sizes.chunks(sizes.used),
    files=(predictions_file.SCHEMA, Calibration),
)
