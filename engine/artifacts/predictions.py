"""Reads and writes ``predictions.parquet`` and ``early.parquet``: class probabilities of every predicted image.

Shape legend: N images, C classes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from engine.artifacts.schema import REMEDY, Column, TableSchema
from engine.errors import DataError
from engine.types import IntArray, Predictions, StrArray, strings

FILE: Final = "predictions.parquet"
PREFIX: Final = "p_"
PROBABILITY: Final = Column(
    name="p_<dx>", kind="number", meaning="probability of the class; rows sum to 1, columns in the order of classes"
)  # fmt: skip
SCHEMA: Final = TableSchema(
    file=FILE,
    stages=("predict", "crossfit"),
    row="one image: every used one (predict), the classifier's own train images out of fold (crossfit)",
    columns=(
        Column(name="image_id", kind="text", meaning="name of the image"),
        Column(name="split", kind="text", meaning="train, mine, val or test"),
        Column(name="dx", kind="text", meaning="diagnosis: the class"),
        PROBABILITY,
    ),
)
EARLY: Final = replace(
    SCHEMA,
    file="early.parquet",
    stages=("crossfit",),
    row="one of the classifier's own train images, out of fold, by the weights after the first steps of the fits",
)


def read(
    folder: Path, classes: tuple[str, ...] | None = None, *, schema: TableSchema = SCHEMA
) -> Predictions:
    """Read the predictions of a stage or of a published (round, arm).

    ``classes`` are those to read, in this order; None: all, in the order of the columns. ``schema`` is the file's: ``EARLY``
    for those of the first steps.

    Raises:
        DataError: the file is absent, damaged or lacks a column; an image's dx has no column of probabilities; a probability
            is no number.
    """
    names = ["image_id", "split", "dx", *(f"{PREFIX}{dx}" for dx in classes)] if classes else []
    frame = schema.read(folder, names)
    classes = classes or probability_classes(frame)
    return Predictions(
        image_id=strings(frame["image_id"].tolist()),
        classes=classes,
        prob_NC=probabilities(frame, classes, schema.path(folder)),
        label_N=labels(strings(frame["dx"].tolist()), classes, schema.file),
        split=strings(frame["split"].tolist()),
    )


def write(predictions: Predictions, folder: Path, *, schema: TableSchema = SCHEMA) -> None:
    """Write the predictions of a stage; ``schema`` as ``read`` takes it."""
    schema.write(frame_of(predictions), folder)


def frame_of(predictions: Predictions) -> pd.DataFrame:
    """Return the columns of predictions.parquet."""
    names = np.array(predictions.classes, dtype=np.str_)
    dx: StrArray = names[predictions.label_N] if len(predictions) else strings([])
    return pd.DataFrame(
        {
            "image_id": predictions.image_id,
            "split": predictions.split,
            "dx": dx,
            **probability_columns(predictions.classes, predictions.prob_NC),
        }
    )


def find(predictions: Predictions, image_id: StrArray, what: str) -> Predictions:
    """Return the predictions of the given images, in their order (DataError: one is missing; ``what`` says of what)."""
    at = {name: row for row, name in enumerate(predictions.image_id.tolist())}
    absent = [name for name in image_id.tolist() if name not in at]
    if absent:
        raise DataError(
            f"{FILE} lacks image_id {absent[0]} of {what} ({len(absent)} in all); rerun `hardcase run`"
        )
    return predictions.take(np.array([at[name] for name in image_id.tolist()], dtype=np.int64))


def probability_columns(classes: tuple[str, ...], prob_NC: np.ndarray) -> dict[str, np.ndarray]:
    """Return one column ``p_<dx>`` per class."""
    return {f"{PREFIX}{name}": prob_NC[:, column] for column, name in enumerate(classes)}


def probability_classes(frame: pd.DataFrame) -> tuple[str, ...]:
    """Return the classes that a table has a column ``p_<dx>`` of, in the columns' order."""
    return tuple(str(c).removeprefix(PREFIX) for c in frame.columns if str(c).startswith(PREFIX))


def probabilities(frame: pd.DataFrame, classes: tuple[str, ...], path: Path) -> np.ndarray:
    """Return prob_NC float64 of a table (DataError: one is no number; names the image)."""
    prob_NC = frame[[f"{PREFIX}{name}" for name in classes]].to_numpy(dtype=np.float64)
    if not np.isfinite(prob_NC).all():
        row = int(np.flatnonzero(~np.isfinite(prob_NC).all(axis=1))[0])
        raise DataError(
            f"{path}: image_id {frame['image_id'].iloc[row]} has a probability that is no number; {REMEDY}"
        )
    return np.asarray(prob_NC)


def labels(dx_N: StrArray, classes: tuple[str, ...], what: str) -> IntArray:
    """Return each image's class index (DataError: the classifier does not know a class; names it)."""
    index = {name: position for position, name in enumerate(classes)}
    unknown = sorted({str(name) for name in dx_N} - set(classes))
    if unknown:
        raise DataError(
            f"{what}: the classifier knows {', '.join(classes)}, not {', '.join(unknown)}; "
            "rename or drop these with data.map_labels"
        )
    return np.array([index[str(name)] for name in dx_N], dtype=np.int64)
