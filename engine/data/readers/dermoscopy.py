"""Readers of HAM10000 and of the ISIC challenges' layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.config import DataConfig
from engine.data.readers.files import (
    age_column,
    column_or_none,
    find_files,
    one_file,
    read_rows,
    require_columns,
    require_folder,
    require_images,
    text_column,
)
from engine.data.table import Source, make_table
from engine.errors import DataError
from engine.types import strings

HAM_COLUMNS = ("lesion_id", "image_id", "dx", "age", "sex", "localization")
ISIC_IMAGE = ("image", "image_name")
"""The image column up to ISIC 2019, and that of ISIC 2020, whose table names the class instead of marking it."""
ISIC_2020_CLASS = ("diagnosis", "benign_malignant")
UNNAMED = "unknown"
"""What ISIC 2020 writes where a benign image has no diagnosis."""
ISIC_CLASSES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
"""The columns of the ISIC challenge that mean HAM10000's seven classes; others must be mapped by the user."""
METADATA_COLUMNS = {
    "lesion_id": ("lesion_id",),
    "patient_id": ("patient_id",),
    "age": ("age", "age_approx"),
    "sex": ("sex",),
    "localization": ("localization", "anatom_site_general", "anatom_site_general_challenge", "site"),
    "skin_type": ("fitzpatrick_skin_type", "fitzpatrick", "skin_type"),
}


def read_ham10000(config: DataConfig) -> Source:
    """Read HAM10000 (Tschandl et al. 2018): a metadata CSV, images and ``*_segmentation.png`` masks below root.

    ``dx_type`` says how a lesion was confirmed, which leaks its class: it is never read. Optional columns:
    ``patient_id``, ``skin_type``, and ``origin`` (real or synthetic) as ``hardcase export data`` writes it.
    """
    root = require_folder(str(config.root))
    path = _ham_metadata(root)
    frame = read_rows(path)
    require_columns(path, frame, HAM_COLUMNS, "Other tables are read with data.format=table and data.columns")
    files = require_images(find_files(root))
    names = frame["image_id"].tolist()
    paths = files.image_paths(names)
    table = make_table(
        str(path),
        names,
        text_column(frame, "dx"),
        lesion_id=_required(path, frame, "lesion_id"),
        patient_id=text_column(frame, "patient_id"),
        origin=_origin(path, frame),
        age=age_column(path, frame, "age"),
        sex=text_column(frame, "sex"),
        localization=text_column(frame, "localization"),
        skin_type=text_column(frame, "skin_type"),
        path=paths,
        mask_path=files.mask_paths(paths),
    )
    return Source(table=table, where=str(path), labels=table.classes, left_out=files.left_out)


def read_isic(config: DataConfig) -> Source:
    """Read an ISIC challenge folder: one ``*GroundTruth*.csv`` and images in it or below.

    Up to 2019 the table has one-hot columns: the seven HAM10000 columns become lower-case class names, and any other
    (AK, SCC, UNK) that an image carries must be named in ``data.map_labels``. In 2020 (column image_name) the class is
    diagnosis, where "unknown" must be named in ``data.map_labels``, or without that column benign_malignant. CSVs that
    have an image column give lesion and patient ids, age, sex and site where they know them.
    """
    root = require_folder(str(config.root))
    remedy = "give data.root the folder of one challenge part"
    path = one_file(root, ["*GroundTruth*.csv", "*groundtruth*.csv"], "ground-truth table", remedy)
    frame = read_rows(path)
    image = next((name for name in ISIC_IMAGE if name in frame.columns), None)
    if image is None:
        require_columns(
            path, frame, ["image"], "It holds the image names in the ISIC layout (2020: image_name)"
        )
    labels, given, must_map = _marked(path, frame) if image == "image" else _named(path, frame)
    files = require_images(find_files(root))
    names = [_bare(name) for name in frame[image]]
    paths = files.image_paths(names)
    metadata = _isic_metadata(root, names)
    table = make_table(str(path), names, labels, path=paths, mask_path=files.mask_paths(paths), **metadata)
    return Source(table=table, where=str(path), labels=given, must_map=must_map, left_out=files.left_out)


def _marked(path: Path, frame: pd.DataFrame) -> tuple[list[str], tuple[str, ...], tuple[str, ...]]:
    """Return class a row, all classes, and those that need a name, from the one-hot columns of ISIC 2016 to 2019."""
    columns = [name for name in frame.columns if name != "image" and not name.endswith("_weight")]
    labels = _one_hot(path, frame, columns)
    given = tuple(_class_name(column) for column in columns)
    return labels, given, tuple(name for name in columns if name not in ISIC_CLASSES)


def _named(path: Path, frame: pd.DataFrame) -> tuple[list[str], tuple[str, ...], tuple[str, ...]]:
    """Return the same from the column of ISIC 2020 that names the class."""
    column = next((name for name in ISIC_2020_CLASS if name in frame.columns), None)
    if column is None:
        require_columns(path, frame, ISIC_2020_CLASS[:1], "It names the class in ISIC 2020's layout")
    labels = [value or UNNAMED for value in text_column(frame, column)]
    return labels, tuple(sorted(set(labels))), (UNNAMED,)


def _ham_metadata(root: Path) -> Path:
    named = [root / name for name in ("HAM10000_metadata.csv", "HAM10000_metadata", "HAM10000_metadata.tab")]
    for path in named:
        if path.is_file():
            return path
    remedy = "put HAM10000_metadata.csv (lesion_id, image_id, dx, age, sex, localization) into data.root"
    return one_file(
        root, ["*metadata*.csv", "*metadata*.CSV"], "metadata table HAM10000_metadata.csv", remedy
    )


def _required(path: Path, frame: pd.DataFrame, name: str) -> list[str]:
    values = text_column(frame, name)
    if "" in values:
        row = values.index("")
        raise DataError(
            f"{path}: image {frame['image_id'].iloc[row]} has no {name}; photographs of one lesion must share one, "
            "or they could straddle the split: fill it in or remove the row"
        )
    return values


def _origin(path: Path, frame: pd.DataFrame) -> list[str]:
    values = [value or "real" for value in text_column(frame, "origin")]
    odd = sorted(set(values) - {"real", "synthetic"})
    if odd:
        raise DataError(f"{path}: origin {odd[0]!r} is neither real nor synthetic; correct it")
    return values


def _bare(name: str) -> str:
    """Return an image's name without the suffix that some tables write."""
    return Path(name).stem if name.lower().endswith((".jpg", ".png")) and "/" not in name else name


def _class_name(column: str) -> str:
    return column.lower() if column in ISIC_CLASSES else column


def _one_hot(path: Path, frame: pd.DataFrame, columns: list[str]) -> list[str]:
    """Return the class name of each row's only 1."""
    if len(columns) < 2:
        raise DataError(
            f"{path}: fewer than two class columns ({', '.join(columns)}); expected image,MEL,NV,..."
        )
    numbers = frame[columns].apply(pd.to_numeric, errors="coerce")
    marked: npt.NDArray[np.bool_] = numbers.to_numpy(dtype=np.float64) == 1.0
    wrong = np.flatnonzero((marked.sum(axis=1) != 1) | ~np.isin(numbers.to_numpy(), (0.0, 1.0)).all(axis=1))
    if len(wrong):
        name = frame["image"].iloc[int(wrong[0])]
        raise DataError(
            f"{path}: image {name} is not marked by one 1 among the columns {', '.join(columns)} and 0 elsewhere "
            f"({len(wrong)} such rows); correct the row"
        )
    return [_class_name(columns[int(position)]) for position in marked.argmax(axis=1)]


def _isic_metadata(root: Path, names: list[str]) -> dict[str, npt.NDArray[Any]]:
    """Collect metadata of the images from the CSVs in the folder; later files fill what is unknown."""
    found: dict[str, dict[str, str]] = {key: {} for key in METADATA_COLUMNS}
    for path in sorted(root.glob("*.csv")):
        if path.name.startswith("."):
            continue
        frame = read_rows(path)
        image = column_or_none(frame, ("image", "image_id", "image_name", "isic_id"))
        if image is None:
            continue
        for key, candidates in METADATA_COLUMNS.items():
            column = column_or_none(frame, candidates)
            if column is not None and key == "age":
                age_column(path, frame, column)
            for name, value in zip(frame[image], text_column(frame, column), strict=True):
                if value:
                    found[key].setdefault(_bare(str(name)), value)
    columns = {key: strings([values.get(name, "") for name in names]) for key, values in found.items()}
    return {**columns, "age": np.array([float(age or "nan") for age in columns["age"]], dtype=np.float64)}
