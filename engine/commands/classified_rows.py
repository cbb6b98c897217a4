"""What a classifier says of images, a row each, for `hardcase predict` and `evaluate`: as CSV, as parquet, or both.

Shape legend: N images, C classes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import pandas as pd

from engine.artifacts.csv_text import write_csv
from engine.artifacts.predictions import PREFIX
from engine.artifacts.whole_files import whole_file
from engine.commands.output_folder import writable_file
from engine.types import FloatArray

if TYPE_CHECKING:
    from engine.artifacts.calibration import Calibration

TYPES: Final = {"malignant_score": "Float64", "above_threshold": "boolean"}
"""Columns that may be unknown in every row, which then still have a type in parquet."""


def said_of(prob_NC: FloatArray, calibration: Calibration) -> pd.DataFrame:
    """Return p_<dx>..., predicted, malignant_score, above_threshold, N rows.

    The last two are empty where the run has no malignant class or no threshold.
    """
    classes = calibration.classes
    frame = pd.DataFrame({f"{PREFIX}{dx}": prob_NC[:, column] for column, dx in enumerate(classes)})
    frame["predicted"] = [classes[i] for i in prob_NC.argmax(axis=1)]
    columns = [i for i, dx in enumerate(classes) if dx in calibration.malignant]
    frame["malignant_score"] = prob_NC[:, columns].sum(axis=1) if columns else None
    known = bool(columns) and calibration.threshold is not None
    frame["above_threshold"] = (frame["malignant_score"] >= calibration.threshold) if known else None
    return frame


def require_writable(csv_path: Path | None, parquet_path: Path | None) -> None:
    """Raise DataError where one of the files that are wanted cannot be made."""
    for option, path in (("--csv", csv_path), ("--parquet", parquet_path)):
        if path is not None:
            writable_file(path, option)


def write_rows(frame: pd.DataFrame, csv_path: Path | None, parquet_path: Path | None) -> str:
    """Write the rows, the same columns and values in both files; returns the names of the files, for a message.

    Text that begins like a formula is escaped in CSV alone: no program runs a cell of parquet.
    """
    if csv_path is not None:
        write_csv(frame, csv_path)
    if parquet_path is not None:
        with whole_file(parquet_path) as partial:
            frame.astype(TYPES).to_parquet(partial, index=False)
    return " and ".join(str(path) for path in (csv_path, parquet_path) if path is not None)
