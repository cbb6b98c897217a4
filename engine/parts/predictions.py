"""Lays out and reads ``predictions.parquet``: image_id, split, dx, then one column p_<dx> per class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.errors import DataError
from engine.types import LesionTable, Predictions, strings


def prediction_frame(
    table: LesionTable, classes: Sequence[str], prob_NC: npt.NDArray[np.float64]
) -> pd.DataFrame:
    """Return the rows of ``table`` with their probabilities, columns in the order of ``classes``."""
    columns = {f"p_{name}": prob_NC[:, column] for column, name in enumerate(classes)}
    return pd.DataFrame({"image_id": table.image_id, "split": table.split, "dx": table.dx, **columns})


def read_predictions(path: Path) -> Predictions:
    """Read predictions.parquet (image_id, split, dx, p_<dx>...); the columns' order is the classes'.

    Raises:
        DataError: an image's dx has no column of probabilities, or a probability is missing.
    """
    frame = pd.read_parquet(path)
    classes = tuple(str(c)[2:] for c in frame.columns if str(c).startswith("p_"))
    index = {name: position for position, name in enumerate(classes)}
    dx = strings(frame["dx"].tolist())
    unknown = sorted({str(name) for name in dx} - set(classes))
    if unknown:
        raise DataError(
            f"{path.name}: the classifier knows {', '.join(classes)}, not {', '.join(unknown)}; "
            "rename or drop these with data.map_labels"
        )
    prob_NC = frame[[f"p_{name}" for name in classes]].to_numpy(dtype=np.float64)
    if not np.isfinite(prob_NC).all():
        row = int(np.flatnonzero(~np.isfinite(prob_NC).all(axis=1))[0])
        raise DataError(
            f"{path.name}: image_id {frame['image_id'].iloc[row]} has a probability that is no number"
        )
    return Predictions(
        image_id=strings(frame["image_id"].tolist()),
        classes=classes,
        prob_NC=prob_NC,
        label_N=np.array([index[str(name)] for name in dx], dtype=np.int64),
        split=strings(frame["split"].tolist()),
    )
