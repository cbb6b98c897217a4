"""Readers of class folders and of any CSV or parquet table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from engine.config import DataConfig
from engine.data.readers.exported import synthetic_files
from engine.data.readers.files import find_files, names_of, one_file, require_folder, require_images
from engine.data.readers.metadata import read_metadata
from engine.data.readers.one_hot import one_hot, rest_of
from engine.data.readers.places import inside, locate
from engine.data.readers.rows import read_rows, require_columns, text_column
from engine.data.table import UNLABELLED, Source, make_table
from engine.errors import DataError

PART_FOLDERS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip
"""Folder names that mean an official part when every folder in data.root has one of them."""


def read_folder(config: DataConfig) -> Source:
    """Read ``root/<class>/**/image``, or ``root/{train,val,test}/<class>/**/image`` with official parts.

    What the table of an exported folder calls synthetic is so here too.

    Raises:
        DataError: no class folder, or an image that lies outside any.
    """
    root = require_folder(str(config.root))
    files = require_images(find_files(root))
    made = synthetic_files(root, files.images)
    parts = [path.relative_to(root).parts for path in files.images]
    tops = {part[0].lower() for part in parts}
    depth = 1 if tops <= set(PART_FOLDERS) and all(len(part) > 2 for part in parts) else 0
    for path, part in zip(files.images, parts, strict=True):
        if len(part) < depth + 2:
            raise DataError(f"{path}: lies in no class folder; expected {root}/CLASS/{path.name}")
    table = make_table(
        str(root),
        names_of(root, files.images),
        [part[depth] for part in parts],
        split=[PART_FOLDERS[part[0].lower()] if depth else "" for part in parts],
        origin=["synthetic" if path in made else "real" for path in files.images],
        path=[str(path) for path in files.images],
        mask_path=files.mask_paths(str(path) for path in files.images),
    )
    return Source(table=table, where=str(root), labels=table.classes, left_out=files.left_out)


def read_table_format(config: DataConfig) -> Source:
    """Read a CSV or parquet table (``data.root``: the file, or a folder that holds one) by ``data.columns``.

    Image paths are relative to ``data.images``, by default the table's folder, or absolute and below it. They may leave out
    the suffix; a bare name that does not lie there is the only image of that name in a folder below. A list of label columns
    is one-hot. A column named ``split`` with train, val and test only is taken as official parts.

    Raises:
        DataError: no table, a configured column is missing, or a path leads outside the folder of the images.
    """
    path = _table_file(str(config.root))
    frame = read_rows(path)
    columns = config.columns
    for key, name in columns.model_dump().items():
        wanted = name if isinstance(name, list) else [name]
        require_columns(path, frame, [n for n in wanted if n is not None], f"Correct data.columns.{key}")
    root = image_root(config.images, path.parent)
    files = find_files(root)
    given = [inside(path, root, row, text) for row, text in enumerate(frame[columns.image])]
    located = locate(root, given, files.images, (*files.by_ending, *files.by_folder))
    names = names_of(root, [root / relative for relative in given])
    metadata = read_metadata(
        *(text_column(frame, name) for name in (columns.age, columns.sex, columns.skin_type))
    )
    table = make_table(
        str(path),
        names,
        _labels(path, frame, columns.label, names),
        lesion_id=text_column(frame, columns.lesion),
        patient_id=text_column(frame, columns.patient),
        split=_official(text_column(frame, "split")),
        origin=_origin(frame),
        age=metadata.age,
        sex=metadata.sex,
        localization=text_column(frame, columns.site),
        skin_type=metadata.skin_type,
        path=located,
        mask_path=files.mask_paths(located),
    )
    return Source(
        table=table,
        where=str(path),
        labels=table.classes,
        must_map=(UNLABELLED,),
        notes=metadata.notes,
        left_out=files.left_out,
    )


def image_root(images: str | None, folder: Path) -> Path:
    """Return the folder that image paths are relative to: ``data.images``, else the table's own.

    Raises:
        DataError: ``data.images`` is no folder.
    """
    if images is None:
        return folder
    root = Path(images).expanduser().absolute()
    if not root.is_dir():
        raise DataError(f"data.images: {root} is no folder; give the folder that the images lie in or below")
    return root


def _labels(path: Path, frame: pd.DataFrame, label: str | list[str] | None, names: list[str]) -> list[str]:
    """Return each row's class, "" where it has none."""
    if isinstance(label, list):
        return one_hot(path, frame, label, names, rest=rest_of(label) or "")
    return text_column(frame, label)


def _table_file(root: str) -> Path:
    path = Path(root).expanduser().absolute()
    if path.is_file():
        return path
    folder = require_folder(root)
    return one_file(folder, ["*.csv", "*.tsv", "*.parquet"], "table", "give data.root the table's own path")


def _origin(frame: pd.DataFrame) -> list[str]:
    """Return real or synthetic where the table is one that ``hardcase export data`` wrote, else real."""
    exported = {"origin", "synthetic"} <= set(frame.columns)
    return [text if exported and text == "synthetic" else "real" for text in text_column(frame, "origin")]


def _official(values: list[str]) -> list[str]:
    """Return each row's part where the column names more than one and nothing else (BCN20000's train table: train alone)."""
    parts = [PART_FOLDERS.get(value.lower(), "") for value in values]
    return parts if all(parts) and len(set(parts)) > 1 else [""] * len(values)
