"""Readers of HAM10000 and of the ISIC challenges' layouts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from engine.config import DataConfig
from engine.data.readers.challenge_tables import LESION, ground_truth, read_around, read_truth
from engine.data.readers.files import find_files, one_file, require_folder, require_images
from engine.data.readers.general import image_root
from engine.data.readers.metadata import read_metadata
from engine.data.readers.one_hot import one_hot, rest_of
from engine.data.readers.places import bare
from engine.data.readers.rows import read_rows, require_columns, text_column
from engine.data.table import UNLABELLED, Source, make_table
from engine.errors import DataError

HAM_COLUMNS = ("lesion_id", "image_id", "dx", "age", "sex", "localization")
ISIC_2020_CLASS = ("diagnosis", "benign_malignant")
ISIC_CLASSES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
"""The columns of the ISIC challenge that mean HAM10000's seven classes; others must be mapped by the user."""


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
    names = [bare(name) for name in frame["image_id"]]
    paths = files.image_paths(names)
    metadata = read_metadata(*(text_column(frame, name) for name in ("age", "sex", "skin_type")))
    table = make_table(
        str(path),
        names,
        text_column(frame, "dx"),
        lesion_id=_required(path, frame, "lesion_id"),
        patient_id=text_column(frame, "patient_id"),
        origin=_origin(path, frame),
        age=metadata.age,
        sex=metadata.sex,
        localization=text_column(frame, "localization"),
        skin_type=metadata.skin_type,
        path=paths,
        mask_path=files.mask_paths(paths),
    )
    return Source(
        table=table,
        where=str(path),
        labels=table.classes,
        must_map=(UNLABELLED,),
        notes=metadata.notes,
        left_out=files.left_out,
    )


def read_isic(config: DataConfig) -> Source:
    """Read an ISIC challenge part: ``data.root`` is its ground truth, or the folder of one ``*GroundTruth*.csv``.

    Images lie in ``data.images``, by default in the folder or anywhere below, so that unzipped siblings are one data set.
    The truth is one-hot in 2017 (neither of two columns: nevus), 2018, 2019 and MILK10k (a row per lesion); in 2016 (no
    header) and 2020 it names the class. The seven HAM10000 columns become lower-case class names; any other code that an
    image carries (AK, SCC, UNK), and 2020's "unknown", must be named in ``data.map_labels``. CSVs that have an image column
    give lesion and patient ids, age, sex and site where they know them.
    """
    path = ground_truth(str(config.root))
    folder = (
        path.parent if Path(str(config.root)).expanduser().is_file() else require_folder(str(config.root))
    )
    frame, image = read_truth(path)
    labels, given, must_map = _marked(path, frame, image) if image != "image_name" else _named(path, frame)
    files = require_images(find_files(image_root(config.images, folder)))
    names = [bare(name) for name in frame[image]]
    paths = files.image_paths(names)
    metadata, notes = read_around(folder, names)
    table = make_table(str(path), names, labels, path=paths, mask_path=files.mask_paths(paths), **metadata)
    return Source(
        table=table,
        where=str(path),
        labels=given,
        must_map=must_map,
        notes=notes,
        left_out=files.left_out,
    )


def _marked(
    path: Path, frame: pd.DataFrame, image: str
) -> tuple[list[str], tuple[str, ...], tuple[str, ...]]:
    """Return class per row, all classes, and those that need a name, from one-hot columns."""
    columns = [name for name in frame.columns if name not in (image, LESION) and not name.endswith("_weight")]
    rest = rest_of(columns)
    labels = [_class_name(name) for name in one_hot(path, frame, columns, frame[image].tolist(), rest=rest)]
    given = tuple(_class_name(column) for column in columns)
    must_map = tuple(name for name in columns if name.isupper() and name not in ISIC_CLASSES)
    return labels, given if rest is None else (*given, rest), must_map


def _named(path: Path, frame: pd.DataFrame) -> tuple[list[str], tuple[str, ...], tuple[str, ...]]:
    """Return the same from the column of ISIC 2016 and 2020 that names the class."""
    column = next((name for name in ISIC_2020_CLASS if name in frame.columns), None)
    if column is None:
        require_columns(path, frame, ISIC_2020_CLASS[:1], "It names the class in ISIC 2020's layout")
    labels = [value or UNLABELLED for value in text_column(frame, column)]
    return labels, tuple(sorted(set(labels))), (UNLABELLED,)


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


def _class_name(column: str) -> str:
    return column.lower() if column in ISIC_CLASSES else column
