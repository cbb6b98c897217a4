"""Finds image and mask files below a data folder, and reads CSV and parquet tables as text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engine.artifacts.own_output import below, is_own
from engine.artifacts.plain_files import require_plain_file
from engine.data.table import LONGEST_NAME
from engine.errors import DataError
from engine.types import FloatArray

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
MASK_ENDING = "_segmentation"
NOT_IMAGES = (MASK_ENDING, "_superpixels")
FIRST_FOLDERS = ("images", "HAM10000_images_part_1", "HAM10000_images_part_2", "")
"""Where an image is taken from first when a file of its name lies in several folders."""
EXCEL_SUFFIXES = (".xlsx", ".xls", ".xlsm", ".ods")
LONGEST_CELL = 10_000
"""Characters of the longest cell that is read; a longer one is no id, label or path."""
UNKNOWN = ("", "na", "n/a", "nan", "none", "null", "unknown")


@dataclass(frozen=True, kw_only=True)
class Files:
    """The image and mask files below ``root``, sorted; paths are absolute."""

    root: Path
    images: tuple[Path, ...]
    masks: tuple[Path, ...]

    def image_paths(self, stems: Iterable[str]) -> list[str]:
        """Return the image file of each name, "" where there is none.

        Raises:
            DataError: two files in one folder have this name and other suffixes.
        """
        found: dict[str, Path] = {}
        wanted = set(stems := list(stems))
        for path in sorted(self.images, key=lambda p: (_rank(self.root, p), p.as_posix())):
            first = found.setdefault(path.stem, path)
            if first is not path and first.parent == path.parent and path.stem in wanted:
                raise DataError(
                    f"{first}: {path.name} beside it is an image of the same name; remove one, or rename it"
                )
        return [str(found.get(stem, "")) for stem in stems]

    def mask_paths(self, images: Iterable[str]) -> list[str]:
        """Return the mask ``<name>_segmentation.png`` of each image file ("" where none): its own folder's first."""
        beside = {(p.parent, p.stem.removesuffix(MASK_ENDING)): p for p in reversed(self.masks)}
        anywhere = {p.stem.removesuffix(MASK_ENDING): p for p in reversed(self.masks)}
        paths = [Path(image) for image in images]
        return [str(beside.get((p.parent, p.stem), anywhere.get(p.stem, ""))) for p in paths]


def find_files(root: Path) -> Files:
    """List image and mask files anywhere below ``root``."""
    paths = [path for path in walk(root) if path.suffix.lower() in IMAGE_SUFFIXES]
    masks = [path for path in paths if path.stem.endswith(MASK_ENDING)]
    images = [path for path in paths if not path.stem.endswith(NOT_IMAGES)]
    return Files(root=root, images=tuple(images), masks=tuple(masks))


def walk(root: Path) -> list[Path]:
    """List every file below ``root``, sorted; hidden ones and what hardcase wrote there are left out."""
    return sorted(below(root))


def require_folder(root: str) -> Path:
    """Return ``data.root`` as an absolute folder.

    Raises:
        DataError: it does not exist, is not a folder, or is empty.
    """
    folder = Path(root).expanduser().absolute()
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise DataError(f"data.root: {folder} {what}; give the folder the data lies in")
    if not any(folder.iterdir()):
        raise DataError(f"data.root: {folder} is empty; put the data there or give another folder")
    return folder


def require_images(files: Files) -> Files:
    """Raise DataError where no image lies below the folder."""
    if not files.images:
        inner = sorted(path for path in files.root.iterdir() if path.is_dir())
        own = next(
            (f" (what hardcase wrote, {path.name}, is not read)" for path in inner if is_own(path)), ""
        )
        raise DataError(
            f"data.root: {files.root} holds no image ({' '.join(IMAGE_SUFFIXES)}) in it or below{own}; "
            "give the folder the images lie in"
        )
    return files


def read_rows(path: Path) -> pd.DataFrame:
    """Read a CSV (or .tsv, .parquet) table with every cell as stripped text, "" where empty.

    Raises:
        DataError: the file cannot be read, is separated otherwise, has no rows, names a column twice, or a cell is odd.
    """
    try:
        require_plain_file(path)
        _refuse_other_kinds(path)
        frame = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
    except DataError:
        raise
    except Exception as error:  # of pandas and Arrow, whatever the file holds
        said = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DataError(
            f"{path}: cannot be read as a table ({' '.join(str(said).split())[:200]}); save it as UTF-8 CSV or parquet"
        ) from error
    frame.columns = [str(name).strip() for name in frame.columns]
    if not len(frame):
        raise DataError(f"{path}: has no rows; give a table with one row an image")
    if frame.columns.duplicated().any():
        raise DataError(
            f"{path}: column {frame.columns[frame.columns.duplicated()][0]} occurs twice; rename one"
        )
    stripped: pd.DataFrame = frame.apply(lambda column: column.str.strip())
    _refuse_odd_cells(path, stripped)
    return stripped


def _read_csv(path: Path) -> pd.DataFrame:
    """Read every cell as text, a column named twice included, which pandas would rename in silence."""
    separator = "\t" if path.suffix.lower() in (".tsv", ".tab") else ","
    options: dict[str, Any] = {"sep": separator, "dtype": str, "keep_default_na": False, "na_filter": False,
                               "encoding": "utf-8-sig"}  # fmt: skip
    names = pd.read_csv(path, header=None, nrows=1, **options).iloc[0].tolist()
    frame = pd.read_csv(path, **options)
    if not isinstance(frame.index, pd.RangeIndex):
        raise ValueError(f"every row has more cells than the {len(names)} names of the header")
    frame.columns = names
    return frame


def _read_parquet(path: Path) -> pd.DataFrame:
    """Read every cell as text; bytes are decoded as UTF-8, and "" where empty."""
    frame = pd.read_parquet(path)
    if any(isinstance(name, tuple) for name in frame.columns):
        raise ValueError("its columns have several levels of names")
    frame = frame.astype(object).where(frame.notna(), "")
    return frame.map(lambda cell: cell.decode() if isinstance(cell, bytes) else str(cell))


def _refuse_odd_cells(path: Path, frame: pd.DataFrame) -> None:
    """Raise DataError for a cell of thousands of characters (a quote that is never closed) and for a null character."""
    for name in frame.columns:
        for odd, what in (
            (
                frame[name].str.len() > LONGEST_CELL,
                f"more than {LONGEST_CELL:,} characters (is a quote not closed?)",
            ),
            (frame[name].str.contains("\0", regex=False), "a null character"),
        ):
            if odd.any():
                row = int(np.flatnonzero(odd)[0]) + 1
                raise DataError(f"{path}: column {name[:60]}, row {row} holds {what}; correct this row")


def _refuse_other_kinds(path: Path) -> None:
    """Raise DataError for a spreadsheet, and for a CSV whose header is separated by something else than a comma."""
    suffix = path.suffix.lower()
    if suffix in EXCEL_SUFFIXES:
        raise DataError(
            f"{path}: spreadsheets ({suffix}) are not read; save it as CSV UTF-8, separated by commas"
        )
    if suffix in (".parquet", ".tsv", ".tab"):
        return
    with path.open(encoding="utf-8-sig", errors="replace") as lines:
        header = lines.readline()
    other = next((sign for sign in (";", "\t", "|") if sign in header and "," not in header), None)
    if other is not None:
        raise DataError(
            f"{path}: is separated by {other!r}, not by commas; save it with commas between the columns and points in "
            "numbers (pandas: read_csv(FILE, sep=..., decimal=...).to_csv(FILE, index=False))"
        )


def require_columns(path: Path, frame: pd.DataFrame, names: Sequence[str], remedy: str) -> None:
    """Raise DataError naming the columns of ``names`` that the table lacks."""
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise DataError(
            f"{path}: column {', '.join(missing)} is missing; the columns are {', '.join(frame.columns)}. {remedy}"
        )


def text_column(frame: pd.DataFrame, name: str | None) -> list[str]:
    """Return a column's text with the usual words for unknown as "" (all "" without such a column)."""
    if name is None or name not in frame.columns:
        return [""] * len(frame)
    return ["" if value.lower() in UNKNOWN else str(value) for value in frame[name]]


def age_column(path: Path, frame: pd.DataFrame, name: str | None) -> FloatArray:
    """Return ages in years, NaN where unknown.

    Raises:
        DataError: an age is neither a number from 0 to 120 nor a word for unknown.
    """
    ages = [_age(path, row, name or "age", text) for row, text in enumerate(text_column(frame, name))]
    return np.array(ages, dtype=np.float64)


def one_file(folder: Path, patterns: Sequence[str], what: str, remedy: str) -> Path:
    """Return the only file in ``folder`` that matches; DataError where there is none or more than one."""
    found = sorted(
        {p for pattern in patterns for p in folder.glob(pattern) if p.is_file() and p.name[0] != "."}
    )
    if len(found) == 1:
        return found[0]
    if not found:
        raise DataError(f"{folder}: no {what} ({' or '.join(patterns)}) lies there; {remedy}")
    raise DataError(f"{folder}: more than one {what}: {', '.join(p.name for p in found)}; {remedy}")


def _age(path: Path, row: int, name: str, text: str) -> float:
    if not text:
        return float("nan")
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 120.0:
        raise DataError(
            f"{path}: {name} {text!r} in row {row + 1} is no age in years (0 to 120); correct it or leave it empty"
        )
    return value


def _rank(root: Path, path: Path) -> int:
    folder = path.parent.relative_to(root).as_posix()
    name = "" if folder == "." else folder
    return FIRST_FOLDERS.index(name) if name in FIRST_FOLDERS else len(FIRST_FOLDERS)


def names_of(root: Path, paths: Sequence[Path]) -> list[str]:
    """Name images by their file's stem or, where stems repeat, by their path below ``root`` joined with ``__``."""
    bare = [path.with_suffix("") if path.suffix.lower() in IMAGE_SUFFIXES else path for path in paths]
    stems = [path.name for path in bare]
    if len(set(stems)) == len(stems):
        return stems
    return [_shortened("__".join(path.relative_to(root).parts)) for path in bare]


def _shortened(name: str) -> str:
    """Return a joined name that still fits a file's name: its end, and a digest of the whole where it is longer."""
    text = name.encode("utf-8", errors="surrogateescape")
    if len(text) <= LONGEST_NAME:
        return name
    end = text[-(LONGEST_NAME - 18) :].decode("utf-8", errors="ignore")
    return f"{hashlib.sha256(text).hexdigest()[:16]}__{end}"


def column_or_none(frame: pd.DataFrame, candidates: Sequence[str]) -> str | None:
    """Return the first of ``candidates`` the table has, whatever its case."""
    lower: dict[str, Any] = {str(name).lower(): name for name in reversed(list(frame.columns))}
    return next((str(lower[name]) for name in candidates if name in lower), None)
