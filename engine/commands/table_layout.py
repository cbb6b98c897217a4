"""Recognises a table of images for `hardcase init`: which column names the images, which the diagnosis, where they lie.

The image column is found by what it holds: its cells are looked for among the files. So a table is told from one that only
lies beside the images, and the folders of the images are never mistaken for classes.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pandas as pd

from engine.artifacts.own_output import inner_folders
from engine.commands.folder_layout import class_names, only_hold_images
from engine.commands.found import TABLES, Found, columns_of, matching
from engine.commands.table_columns import (
    COLUMN_NAMES,
    Label,
    label_columns,
    named_columns,
)
from engine.data.diagnoses import recognise
from engine.data.readers.files import find_files
from engine.data.readers.image_names import is_image_name
from engine.data.readers.places import bare, inside, locate
from engine.data.readers.rows import column_or_none, read_rows, spelled
from engine.errors import DataError

SAMPLE: Final = 200
"""Rows whose images are looked for, spread over the table."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How well a table fits the files: its image column, the folder its paths are relative to, and the share found."""

    path: Path
    frame: pd.DataFrame
    image: str
    root: Path
    share: float
    others: tuple[str, ...] = ()


def tables(place: Path, images: Path | None, label: str | None = None) -> Found | None:
    """Return the table of a folder (or the given file) that names images and their diagnosis; None where none does.

    ``label`` is the column of the diagnosis, where a person named it.

    Raises:
        DataError: no table has the column ``label``; several name images and their diagnosis; one names the images and no
            column is known for the diagnosis; or its images lie elsewhere.
    """
    given = place.is_file()
    files = [place] if given else _tables_of(place)
    fits = [fit for path in files if (fit := _fit(path, place, images)) is not None]
    if label is not None:
        fits = _with_column(place, fits, label)
    labels: dict[Path, Label | None] = {
        fit.path: (label, ()) if label else label_columns(fit.frame, fit.image) for fit in fits
    }
    labelled = {path: found for path, found in labels.items() if found is not None}
    present = [fit for fit in fits if fit.share > 0 and fit.path in labelled]
    if len(present) > 1:
        names = ", ".join(str(fit.path.relative_to(place)) for fit in present)
        raise DataError(
            f"{place}: several tables name images and their diagnosis ({names}); give one of them"
        )
    if not present:
        _refuse_without(place, fits, labelled)
        return None
    fit = present[0]
    column, checks = labelled[fit.path]
    return _found(
        fit,
        column,
        [*_several_images(fit), *checks],
        whole=not given and files == [fit.path] and fit.path.parent == place,
    )


def _with_column(place: Path, fits: Sequence[Fit], label: str) -> list[Fit]:
    """Return the tables that have a column (DataError: none has)."""
    there = [fit for fit in fits if label in fit.frame.columns]
    if not there:
        tables = "".join(f"; {fit.path.name} has {', '.join(fit.frame.columns)}" for fit in fits)
        raise DataError(
            f"--label: {label} is no column of a table that names images in {place}{tables}; give one of those"
        )
    return there


def _found(fit: Fit, label: str | list[str], checks: Sequence[str], *, whole: bool) -> Found:
    columns: dict[str, Any] = {"image": fit.image, "label": label, **named_columns(fit.frame, {fit.image})}
    data: dict[str, Any] = {"format": "table", "columns": columns}
    if not whole:
        data["root"] = str(fit.path)
    if fit.root != fit.path.parent:
        data["images"] = str(fit.root)
    return Found(data=data, why=f"table {fit.path.name}", checks=tuple(checks))


def _refuse_without(place: Path, fits: Sequence[Fit], labelled: Collection[Path]) -> None:
    """Raise DataError where the given file is no such table, its images are elsewhere, or it names the images alone.

    Beside class folders a table does not matter, unless it names their images and no folder is named as a diagnosis: the
    folders may be patients.
    """
    names = class_names(place)
    folders = names is not None and len(names) > 1 and not only_hold_images(names)
    asked = [fit for fit in fits if fit.share > 0 and fit.path not in labelled]
    if folders and (not asked or any(map(recognise, names or ()))):
        return
    for fit in asked or fits:
        if fit.path not in labelled:
            either = (
                " If the folders are the classes: data.format: folder, and the folder." if folders else ""
            )
            raise DataError(
                f"{fit.path}: names the images (column {fit.image}), and no column is known to hold the diagnosis; "
                f"the columns are {', '.join(fit.frame.columns)}. Say which: hardcase init {shlex.quote(str(fit.path))} "
                f"--label COLUMN.{either}"
            )
        raise DataError(
            f"{fit.path}: none of the images it names (column {fit.image}) lies in or below {fit.root}; give their folder: "
            f"hardcase init {shlex.quote(str(fit.path))} --images DIR"
        )
    if place.is_file():
        there = columns_of(place)
        if not there:
            raise DataError(f"{place}: is no table that is read (CSV, .tsv, parquet) and no .npz; give one")
        raise DataError(
            f"{place}: no image and label columns among {', '.join(there)}; write a config "
            "with data.format: table and data.columns by hand"
        )


def _tables_of(place: Path) -> list[Path]:
    """Return the tables of a folder or, where it has none, of the folders directly below."""
    if not place.is_dir():
        return []
    return matching(place, TABLES) or [p for folder in inner_folders(place) for p in matching(folder, TABLES)]


def _fit(path: Path, place: Path, images: Path | None) -> Fit | None:
    """Return the column of a table that names most images; by its name where no image is found; None without either.

    Raises:
        DataError: the first line is data.
    """
    if not columns_of(path):
        return None
    frame = read_rows(path)
    step = max(1, len(frame) // SAMPLE)
    sample = frame.iloc[::step]
    best: Fit | None = None
    for root in _roots(path, place, images, sample):
        files = find_files(root).images
        _refuse_headless(path, frame, files)
        for column, others in _image_columns(sample, files):
            share = _share(path, root, sample[column], files)
            if share > (best.share if best else 0.0):
                best = Fit(path=path, frame=frame, image=column, root=root, share=share, others=others)
        if best is not None and best.share == 1.0:
            break
    if best is not None:
        return best
    named = column_or_none(frame, COLUMN_NAMES["image"])
    if named is None:
        return None
    return Fit(path=path, frame=frame, image=named, root=images or path.parent, share=0.0)


def _roots(path: Path, place: Path, images: Path | None, sample: pd.DataFrame) -> Iterator[Path]:
    """Yield folders that image paths may be relative to, the likeliest first."""
    if images is not None:
        yield images
        return
    yield path.parent
    if place.is_dir():
        yield place
    for column in sample.columns:
        common = _common_folder(path.parent, sample[column])
        if common is not None:
            yield common
    for folder in dict.fromkeys((path.parent, place)):
        if folder.is_dir():
            yield from inner_folders(folder)


def _common_folder(folder: Path, cells: pd.Series) -> Path | None:
    """Return the folder that a column's files share where it gives absolute paths, or paths with '..'."""
    texts = [text.replace("\\", "/") for text in cells]
    if not all(PurePosixPath(text).is_absolute() or ".." in PurePosixPath(text).parts for text in texts):
        return None
    paths = [Path(os.path.normpath(folder / text)) for text in texts]
    if not all(is_image_name(path) for path in paths) or not any(path.is_file() for path in paths):
        return None
    common = Path(os.path.commonpath([path.parent for path in paths]))
    return common if common != common.parent else None  # the whole disk is no folder of images


def _image_columns(sample: pd.DataFrame, files: Sequence[Path]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the columns whose cells are names of files, known names first, each with the others that are too."""
    stems = {path.stem.casefold() for path in files}
    hits = {
        column: sum(
            bare(PurePosixPath(text.replace("\\", "/")).name).casefold() in stems for text in sample[column]
        )
        for column in sample.columns
    }
    known = {name: rank for rank, name in enumerate(COLUMN_NAMES["image"])}
    enough = [c for c, count in hits.items() if count and (spelled(c) in known or count * 2 >= len(sample))]
    ranked = sorted(enough, key=lambda c: (known.get(spelled(c), len(known)), -hits[c]))
    return [(column, tuple(c for c in ranked if c != column)) for column in ranked]


def _share(path: Path, root: Path, cells: pd.Series, files: Sequence[Path]) -> float:
    try:
        given = [inside(path, root, row, text) for row, text in enumerate(cells)]
    except DataError:
        return 0.0
    return sum(bool(found) for found in locate(root, given, files)) / max(1, len(given))


def _several_images(fit: Fit) -> list[str]:
    """Return what to check where a row names several images, of which one is read."""
    named = [column for column in fit.others if not set(fit.frame[column]) <= set(fit.frame[fit.image])]
    if not named:
        return []
    return [
        f"each row names images in columns {', '.join([fit.image, *named])}; data.columns.image: {fit.image} is read, "
        "the others are not"
    ]


def _refuse_headless(path: Path, frame: pd.DataFrame, files: Sequence[Path]) -> None:
    stems = {file.stem.casefold() for file in files}
    data = [column for column in frame.columns if bare(PurePosixPath(column).name).casefold() in stems]
    if data:
        raise DataError(
            f"{path}: has no header; its first line is {','.join(frame.columns)}. Write a line with names of columns "
            "above it, such as image,label"
        )
