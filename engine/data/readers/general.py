"""Readers of class folders and of any CSV or parquet table."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pandas as pd

from engine.config import DataConfig
from engine.data.readers.files import (
    IMAGE_SUFFIXES,
    age_column,
    find_files,
    names_of,
    one_file,
    read_rows,
    require_columns,
    require_folder,
    require_images,
    text_column,
)
from engine.data.table import Source, make_table
from engine.errors import DataError

PART_FOLDERS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test",
}  # fmt: skip
"""Folder names that mean an official part when every folder in data.root has one of them."""


def read_folder(config: DataConfig) -> Source:
    """Read ``root/<class>/**/image``, or ``root/{train,val,test}/<class>/**/image`` with official parts.

    Raises:
        DataError: no class folder, or an image that lies outside any.
    """
    root = require_folder(str(config.root))
    files = require_images(find_files(root))
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
        path=[str(path) for path in files.images],
        mask_path=files.mask_paths(str(path) for path in files.images),
    )
    return Source(table=table, where=str(root), labels=table.classes)


def read_table_format(config: DataConfig) -> Source:
    """Read a CSV or parquet table (``data.root``: the file, or a folder that holds one) by ``data.columns``.

    Image paths are relative to the table's folder and may leave out the suffix; a bare name that does not lie there is
    the only image of that name in a folder below. A column named ``split`` with train, val and test only is taken as
    official parts.

    Raises:
        DataError: no table, a configured column is missing, or a path leads outside the table's folder.
    """
    path = _table_file(str(config.root))
    frame = read_rows(path)
    columns = config.columns
    for key, name in columns.model_dump().items():
        if name is not None:
            require_columns(path, frame, [name], f"Correct data.columns.{key}")
    files = find_files(path.parent)
    given = [_inside(path, row, text) for row, text in enumerate(frame[columns.image])]
    located = _locate(path.parent, given, [p.as_posix() for p in files.images])
    table = make_table(
        str(path),
        names_of(path.parent, [path.parent / relative for relative in given]),
        text_column(frame, columns.label),
        lesion_id=text_column(frame, columns.lesion),
        patient_id=text_column(frame, columns.patient),
        split=_official(text_column(frame, "split")),
        origin=_origin(frame),
        age=age_column(path, frame, columns.age) if columns.age else [float("nan")] * len(frame),
        sex=text_column(frame, columns.sex),
        localization=text_column(frame, columns.site),
        skin_type=text_column(frame, columns.skin_type),
        path=located,
        mask_path=files.mask_paths(located),
    )
    return Source(table=table, where=str(path), labels=table.classes)


def _table_file(root: str) -> Path:
    path = Path(root).expanduser().absolute()
    if path.is_file():
        return path
    folder = require_folder(root)
    return one_file(folder, ["*.csv", "*.tsv", "*.parquet"], "table", "give data.root the table's own path")


def _inside(path: Path, row: int, text: str) -> PurePosixPath:
    relative = PurePosixPath(text.replace("\\", "/"))
    outside = relative.is_absolute() or ".." in relative.parts or ":" in text or "\0" in text
    if outside or not relative.parts:
        raise DataError(
            f"{path}: image path {text!r} in row {row + 1} does not lie below the table's folder; "
            "give a path relative to it, without '..'"
        )
    return relative


def _locate(folder: Path, given: list[PurePosixPath], present: list[str]) -> list[str]:
    """Return each image's file, trying the usual suffixes where the path has none; "" where absent.

    A bare name is looked for in the folders below too; two files of that name leave it absent.
    """
    known = set(present)
    below: dict[str, list[str]] = {}
    for file in present:
        for name in (PurePosixPath(file).name, PurePosixPath(file).stem):
            below.setdefault(name, []).append(file)
    located = []
    for relative in given:
        base = (folder / relative).as_posix()
        tries = [base] if relative.suffix.lower() in IMAGE_SUFFIXES else [base + s for s in IMAGE_SUFFIXES]
        same = below.get(relative.name, []) if len(relative.parts) == 1 else []
        only = same[0] if len(same) == 1 else ""
        found = [name for name in tries if name in known]
        if len(found) > 1:
            raise DataError(
                f"{found[0]}: {PurePosixPath(found[1]).name} beside it is an image of the same name, and the table gives "
                "none of their suffixes; write the suffix, or remove one"
            )
        located.append(found[0] if found else only)
    return located


def _origin(frame: pd.DataFrame) -> list[str]:
    """Return real or synthetic where the table is one that ``hardcase export data`` wrote, else real."""
    exported = {"origin", "synthetic"} <= set(frame.columns)
    return [text if exported and text == "synthetic" else "real" for text in text_column(frame, "origin")]


def _official(values: list[str]) -> list[str]:
    parts = [PART_FOLDERS.get(value.lower(), "") for value in values]
    return parts if all(parts) else [""] * len(values)
