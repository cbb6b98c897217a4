"""Recognises the layout of a data folder for `hardcase init`, and reads its table to count what is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine.artifacts.own_output import is_own
from engine.config import DataConfig
from engine.data.readers.files import EXCEL_SUFFIXES, find_files, read_rows, text_column
from engine.data.readers.general import PART_FOLDERS
from engine.data.readers.table import READERS
from engine.data.table import Source, known_groups
from engine.errors import DataError

COLUMN_NAMES: Final = {
    "image": (
        "image",
        "image_id",
        "image_path",
        "path",
        "file",
        "filename",
        "file_name",
        "filepath",
        "isic_id",
        "image_name",
        "img",
    ),
    "label": (
        "dx",
        "label",
        "diagnosis",
        "class",
        "benign_malignant",
        "target",
        "category",
        "diagnosis_1",
    ),
    "lesion": ("lesion_id", "lesion"),
    "patient": ("patient_id", "patient"),
    "age": ("age", "age_approx"),
    "sex": ("sex", "gender"),
    "site": (
        "localization",
        "site",
        "anatom_site_general",
        "anatom_site_general_challenge",
        "body_site",
        "region",
    ),
    "skin_type": ("fitzpatrick_skin_type", "fitzpatrick", "skin_type"),
}
"""Column names that are understood in a table, by key of ``data.columns``; the first that is filled in every row."""
TABLES: Final = ("*.csv", "*.tsv", "*.parquet")
NO_CLASSES: Final = {*PART_FOLDERS, "images", "image", "imgs", "img", "input", "masks", "mask", "annotations"}
"""Folder names, lower case, that say what files are for and not what they show."""

MOST_COLUMNS: Final = 12
KNOWN_LAYOUTS: Final = (
    "HAM10000 (HAM10000_metadata.csv and images), an ISIC challenge part (*GroundTruth*.csv and images), a MedMNIST .npz, "
    "MNIST idx files, CIFAR-10 binary batches, one CSV or parquet table with image and label columns, class folders"
)

Found = tuple[dict[str, Any], str]
"""Keys for ``data``, and what they were recognised by."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A recognised data set: keys for the config's ``data`` section, and what its reader found."""

    data: dict[str, Any]
    source: Source
    why: str

    @property
    def grouped_by(self) -> str:
        """What splits will keep together: patient, lesion or image."""
        return known_groups(self.source.table)

    @property
    def n_lesions(self) -> int:
        """Number of lesions; of images where lesions are unknown."""
        table = self.source.table
        return len(np.unique(np.where(table.lesion_id == "", table.image_id, table.lesion_id)))

    @property
    def counts(self) -> dict[str, int]:
        """Images a class, as read (before ``data.map_labels``)."""
        names, counts = np.unique(self.source.table.dx, return_counts=True)
        return {str(name): int(count) for name, count in zip(names, counts, strict=True)}


def recognise(directory: Path) -> Layout:
    """Return the layout of a folder (or of one .npz, CSV or parquet file).

    Raises:
        DataError: it does not exist, is empty, matches no layout, or its reader finds it broken.
    """
    place = directory.expanduser().absolute()
    if not place.exists():
        raise DataError(f"{place}: does not exist; give the folder the data lies in")
    if place.is_dir() and not any(place.iterdir()):
        raise DataError(f"{place}: is empty; put the data there or give another folder")
    for probe in (_archive, _ham10000, _isic, _torchvision, _table, _folders):
        found = probe(place)
        if found is not None:
            data, why = found
            data["root"] = str(place)
            source = READERS[data["format"]](DataConfig.model_validate(data))
            return Layout(data=data, source=source, why=why)
    raise DataError(
        f"{place}: no layout recognised{_tables_beside(place)}; known are {KNOWN_LAYOUTS}. "
        "A table elsewhere: data.format=table"
    )


def _archive(place: Path) -> Found | None:
    files = [place] if place.suffix == ".npz" else sorted(place.glob("*.npz"))
    if len(files) > 1:
        raise DataError(f"{place}: {len(files)} .npz files ({files[0].name}, ...); give one of them")
    return ({"format": "medmnist"}, f"MedMNIST file {files[0].name}") if files else None


def _ham10000(place: Path) -> Found | None:
    needed = {"lesion_id", "image_id", "dx"}
    for path in _matching(place, ("HAM10000_metadata*", "*metadata*.csv")):
        if path.suffix.lower() in (".csv", ".tab", "") and needed <= set(_columns(path)):
            return {"format": "ham10000"}, f"HAM10000 metadata {path.name}"
    return None


def _isic(place: Path) -> Found | None:
    files = _matching(place, ("*GroundTruth*.csv", "*groundtruth*.csv"))
    return ({"format": "isic"}, f"ISIC ground truth {files[0].name}") if files else None


def _torchvision(place: Path) -> Found | None:
    for pattern, name in (("train-images*idx3*", "mnist"), ("data_batch_*.bin", "cifar10")):
        folders = {"mnist": ("", "MNIST/raw", "raw"), "cifar10": ("", "cifar-10-batches-bin")}[name]
        if any(_matching(place / folder, (pattern,)) for folder in folders):
            return {"format": "torchvision", "dataset": name}, f"{name} files ({pattern})"
    return None


def _table(place: Path) -> Found | None:
    given = place.is_file()
    files = [place] if given else _matching(place, TABLES)
    fitting = {path: found for path in files if (found := _table_columns(path)) is not None}
    if len(fitting) > 1:
        names = ", ".join(path.name for path in fitting)
        raise DataError(f"{place}: several tables have image and label columns ({names}); give one of them")
    if not fitting:
        if given:
            columns_there = _columns(place)
            if not columns_there:
                raise DataError(
                    f"{place}: is no table that is read (CSV, .tsv, parquet) and no .npz; give one"
                )
            raise DataError(
                f"{place}: no image and label columns among {', '.join(columns_there)}; write a config "
                "with data.format: table and data.columns by hand"
            )
        return None
    path, columns = next(iter(fitting.items()))
    if not given and len(files) > 1:
        raise DataError(f"{place}: {len(files)} tables; give the one that fits, {path}")
    return {"format": "table", "columns": columns}, f"table {path.name}"


def _table_columns(path: Path) -> dict[str, str] | None:
    """Return {key of data.columns: column}; of several label columns the first without a gap (ISIC 2020: unknown)."""
    names = {name.lower(): name for name in _columns(path)}
    hits = {key: [names[name] for name in known if name in names] for key, known in COLUMN_NAMES.items()}
    columns = {key: found[0] for key, found in hits.items() if found}
    if not {"image", "label"} <= set(columns):
        return None
    if len(hits["label"]) > 1:
        frame = read_rows(path)
        columns["label"] = next((n for n in hits["label"] if all(text_column(frame, n))), columns["label"])
    return columns


def _folders(place: Path) -> Found | None:
    if not place.is_dir():
        return None
    images = [path.relative_to(place) for path in find_files(place).images]
    if not images or any(len(path.parts) < 2 for path in images):
        return None
    for inner in sorted(path for path in place.iterdir() if path.is_dir() and not is_own(path)):
        if _ham10000(inner) or _isic(inner):
            raise DataError(f"{place}: {inner.name} in it is a data set of its own; give {inner}")
    classes = READERS["folder"](DataConfig(format="folder", root=str(place))).labels
    beside = _tables_beside(place)
    if len(classes) < 2 or {name.lower() for name in classes} <= NO_CLASSES:
        raise DataError(
            f"{place}: needs two class folders or more, and in it lie {', '.join(classes)}{beside}; "
            "give the folder whose subfolders are named as the classes, or the table that names them"
        )
    return {
        "format": "folder"
    }, f"one folder per class (not read: {beside[2:]})" if beside else "one folder per class"


def _tables_beside(place: Path) -> str:
    """Return what tables lie in a folder, with their columns, for a message; "" where there is none."""
    said = []
    for path in _matching(place, TABLES):
        columns = _columns(path)
        few = ", ".join(columns[:MOST_COLUMNS]) + (", ..." if len(columns) > MOST_COLUMNS else "")
        said.append(f"{path.name} has columns {few}")
    sheets = _matching(place, tuple(f"*{suffix}" for suffix in EXCEL_SUFFIXES))
    said += [f"{path.name} is a spreadsheet, which is read once saved as CSV" for path in sheets]
    return "".join(f"; {text}" for text in said)


def _matching(place: Path, patterns: Sequence[str]) -> list[Path]:
    if not place.is_dir():
        return []
    return sorted(
        {path for pattern in patterns for path in place.glob(pattern) if not path.name.startswith(".")}
    )


def _columns(path: Path) -> list[str]:
    if path.suffix.lower() not in (".csv", ".tsv", ".tab", ".parquet", "", *EXCEL_SUFFIXES):
        return []
    return [str(name) for name in read_rows(path).columns]
