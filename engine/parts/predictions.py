"""Lays out ``predictions.parquet``: image_id, split, dx, then one column p_<dx> a class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.types import LesionTable


def prediction_frame(
    table: LesionTable, classes: Sequence[str], prob_NC: npt.NDArray[np.float64]
) -> pd.DataFrame:
    """Return the rows of ``table`` with their probabilities, columns in the order of ``classes``."""
    columns = {f"p_{name}": prob_NC[:, column] for column, name in enumerate(classes)}
    return pd.DataFrame({"image_id": table.image_id, "split": table.split, "dx": table.dx, **columns})
