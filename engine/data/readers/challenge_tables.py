"""Reads the CSV files of an ISIC challenge: the ground truth in each year's shape, and the metadata that lies around it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy.typing as npt
import pandas as pd

from engine.artifacts.own_output import inner_folders
from engine.data.readers.files import require_folder
from engine.data.readers.metadata import given, read_metadata
from engine.data.readers.places import bare
from engine.data.readers.rows import column_or_none, read_rows, require_columns, text_column
from engine.errors import DataError
from engine.types import strings

IMAGE_COLUMNS: Final = ("image", "image_name", "image_id", "isic_id")
"""The image column of ISIC 2018 and 2019, of 2020, of 2017, and of the archive's own tables."""
LESION: Final = "lesion_id"
"""The first column of MILK10k's ground truth, which has one row per lesion."""
HEADLESS: Final = ("image_name", "benign_malignant")
ISIC_2016: Final = {"0.0": "benign", "1.0": "malignant", "0": "benign", "1": "malignant"}
"""ISIC 2016 has no header; its train table says benign and malignant, its test table 0.0 and 1.0."""
METADATA_COLUMNS: Final = {
    "lesion_id": (LESION,),
    "patient_id": ("patient_id",),
    "age": ("age", "age_approx", "age_approximate"),
    "sex": ("sex",),
    "localization": ("localization", "anatom_site_general", "anatom_site_general_challenge", "site"),
    "skin_type": ("fitzpatrick_skin_type", "fitzpatrick", "skin_type"),
}


def ground_truths(root: Path) -> list[Path]:
    """Return the ground-truth tables in a folder or, where it has none, in the folders directly below it."""
    tables = [path for path in _tables_around(root) if "groundtruth" in path.name.lower()]
    return [path for path in tables if path.parent == root] or tables


def ground_truth(root: str) -> Path:
    """Return the ground truth that ``data.root`` names: the file, or the only one in the folder or directly below.

    Raises:
        DataError: there is none, or more than one.
    """
    path = Path(root).expanduser().absolute()
    if path.is_file():
        return path
    folder = require_folder(root)
    found = ground_truths(folder)
    if len(found) == 1:
        return found[0]
    if not found:
        raise DataError(
            f"{folder}: no ground-truth table (*GroundTruth*.csv) lies there; give data.root the folder of a challenge part"
        )
    names = ", ".join(path.name for path in found)
    raise DataError(
        f"{folder}: more than one ground-truth table: {names}; give data.root one of these files and, where the images "
        "do not lie beside it, data.images their folder"
    )


def read_truth(path: Path) -> tuple[pd.DataFrame, str]:
    """Return the ground truth's rows and the name of its image column; MILK10k's rows are repeated per image of a lesion.

    Raises:
        DataError: no column names the images, or a lesion has none.
    """
    frame = read_rows(path)
    first = [str(name) for name in frame.columns]
    if len(first) == 2 and re.fullmatch(r"[A-Za-z]+_\d+(\.\w+)?", first[0]) and first[1].lower() in (
        *ISIC_2016, *ISIC_2016.values()
    ):  # fmt: skip
        frame = read_rows(path, names=HEADLESS)
        frame[HEADLESS[1]] = frame[HEADLESS[1]].str.lower().replace(ISIC_2016)
    image = next((name for name in IMAGE_COLUMNS if name in frame.columns), None)
    if image is None and LESION in frame.columns:
        return _per_image(path, frame)
    if image is None:
        require_columns(
            path, frame, ["image"], "It holds the image names in the ISIC layout (2020: image_name)"
        )
    return frame, str(image)


def _per_image(path: Path, frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return a row per image from one per lesion, by a table beside that has both ids."""
    for other in _tables_around(path.parent):
        rows = frame if other == path else read_rows(other)
        image = column_or_none(rows, IMAGE_COLUMNS)
        if image is None or LESION not in rows.columns:
            continue
        without = sorted(set(frame[LESION]) - set(rows[LESION]))
        if without:
            raise DataError(
                f"{path}: lesion {without[0]} has no image in {other.name} ({len(without)} such lesions); "
                "remove the rows or add the images"
            )
        joined: pd.DataFrame = rows[[LESION, image]].merge(frame, on=LESION, how="inner")
        return joined, image
    raise DataError(
        f"{path}: has a row per lesion, and no table beside it names the images of a lesion; put one there with columns "
        f"{LESION} and isic_id (MILK10k: *_Metadata.csv)"
    )


def read_around(folder: Path, names: Sequence[str]) -> tuple[dict[str, npt.NDArray[Any]], tuple[str, ...]]:
    """Collect metadata of the images from the CSVs in a folder and directly below; later files fill what is unknown.

    Returns:
        the columns of a LesionTable, and notes on values that count as unknown.
    """
    found: dict[str, dict[str, str]] = {key: {} for key in METADATA_COLUMNS}
    for path in _tables_around(folder):
        frame = read_rows(path)
        image = column_or_none(frame, IMAGE_COLUMNS)
        if image is None:
            continue
        for key, candidates in METADATA_COLUMNS.items():
            values = text_column(frame, column_or_none(frame, candidates))
            for name, value in zip(frame[image], values, strict=True):
                if given(value):
                    found[key].setdefault(bare(str(name)), value)
    text = {key: [values.get(name, "") for name in names] for key, values in found.items()}
    metadata = read_metadata(text["age"], text["sex"], text["skin_type"])
    columns: dict[str, npt.NDArray[Any]] = {
        key: strings(text[key]) for key in ("lesion_id", "patient_id", "localization")
    }
    columns |= {"age": metadata.age, "sex": strings(metadata.sex), "skin_type": strings(metadata.skin_type)}
    return columns, metadata.notes


def _tables_around(folder: Path) -> list[Path]:
    """Return the CSVs in a folder, then those in the folders directly below it that hardcase did not write."""
    found = [path for place in (folder, *inner_folders(folder)) for path in sorted(place.glob("*"))]
    return [
        path for path in found if path.suffix.lower() == ".csv" and path.name[0] != "." and path.is_file()
    ]
