"""Recognises the layout of a data folder for `hardcase init`, and reads its table to count what is there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from engine.artifacts.own_output import is_own
from engine.commands.challenge_layout import challenge
from engine.commands.folder_layout import class_folders
from engine.commands.found import Found, Layout, columns_of, matching, siblings, tables_beside
from engine.commands.table_layout import tables
from engine.config import DataConfig
from engine.data.readers.challenge_tables import ground_truths
from engine.data.readers.files import find_files
from engine.data.readers.pixels import pixel_shape
from engine.data.readers.table import READERS
from engine.errors import DataError

KNOWN_LAYOUTS: Final = (
    "HAM10000 (HAM10000_metadata.csv and images), an ISIC challenge part (*GroundTruth*.csv and images), a MedMNIST .npz, "
    "MNIST idx files, CIFAR-10 binary batches, Kaggle's hmnist_*.csv of pixels, one CSV or parquet table with image and "
    "label columns, class folders"
)


def recognise(directory: Path, images: Path | None = None, label: str | None = None) -> Layout:
    """Return the layout of a folder (or of one .npz, CSV or parquet file).

    Args:
        directory: what the user gave.
        images: folder of the images where they lie apart from the table, or None.
        label: column of the diagnosis, where a table calls it as no other does, or None.

    Raises:
        DataError: it does not exist, is empty, matches no layout, or its reader finds it broken.
    """
    place = directory.expanduser().absolute()
    apart = None if images is None else images.expanduser().absolute()
    _require(place, apart)
    probes = PROBES if label is None else (partial(tables, label=label),)
    for probe in probes:
        found = probe(place, apart)
        if found is None:
            continue
        data: dict[str, Any] = {"format": found.data["format"], "root": str(place), **found.data}
        config = DataConfig.model_validate(data)
        return Layout(data=data, source=READERS[config.format](config), why=found.why, checks=found.checks)
    raise DataError(
        f"{place}: no layout recognised{tables_beside(place)}{_truth_beside(place)}; known are {KNOWN_LAYOUTS}. "
        "A table elsewhere: data.format=table"
    )


def _truth_beside(place: Path) -> str:
    """Return where the ground truth of images lies that were unzipped beside it, "" where there is none."""
    found = next(
        (path for path in siblings(place) if any(t.parent == path for t in ground_truths(path))), None
    )
    return f" (ground truth lies beside it in {found.name}: give {place.parent} or {found})" if found else ""


def _require(place: Path, images: Path | None) -> None:
    if not place.exists():
        raise DataError(f"{place}: does not exist; give the folder the data lies in")
    if place.is_dir() and not any(place.iterdir()):
        raise DataError(f"{place}: is empty; put the data there or give another folder")
    if images is not None and not images.is_dir():
        raise DataError(f"--images: {images} is no folder; give the folder that the images lie in or below")


def _archive(place: Path, _images: Path | None) -> Found | None:
    files = [place] if place.suffix == ".npz" else sorted(place.glob("*.npz"))
    if len(files) > 1:
        raise DataError(f"{place}: {len(files)} .npz files ({files[0].name}, ...); give one of them")
    return Found(data={"format": "medmnist"}, why=f"MedMNIST file {files[0].name}") if files else None


def _pixels(place: Path, _images: Path | None) -> Found | None:
    """A table of pixels: the given one, or those of a folder without images."""
    if place.is_dir() and (not any(place.glob("*.csv")) or find_files(place).images):
        return None
    files = [place] if place.is_file() else matching(place, ("*.csv",))
    fitting = [path for path in files if path.suffix.lower() == ".csv" and pixel_shape(columns_of(path))]
    if len(fitting) > 1:
        names = ", ".join(path.name for path in fitting)
        raise DataError(f"{place}: {len(fitting)} tables of pixels ({names}); give one of them")
    if not fitting:
        return None
    data = {"format": "pixels", "root": str(fitting[0])}
    return Found(data=data, why=f"table of pixels {fitting[0].name}")


def _ham10000(place: Path, images: Path | None) -> Found | None:
    """HAM10000; where its images lie apart, its table is read as any other."""
    needed = {"lesion_id", "image_id", "dx"}
    for path in matching(place, ("HAM10000_metadata*", "*metadata*.csv")) if images is None else ():
        if path.suffix.lower() in (".csv", ".tab", "") and needed <= set(columns_of(path)):
            return Found(data={"format": "ham10000"}, why=f"HAM10000 metadata {path.name}")
    return None


def _torchvision(place: Path, _images: Path | None) -> Found | None:
    for pattern, name in (("train-images*idx3*", "mnist"), ("data_batch_*.bin", "cifar10")):
        folders = {"mnist": ("", "MNIST/raw", "raw"), "cifar10": ("", "cifar-10-batches-bin")}[name]
        if any(matching(place / folder, (pattern,)) for folder in folders):
            return Found(data={"format": "torchvision", "dataset": name}, why=f"{name} files ({pattern})")
    return None


def _inner(place: Path, _images: Path | None) -> Found | None:
    """Refuse a parent of a data set, whose name would become a class."""
    if place.is_dir():
        for inner in sorted(path for path in place.iterdir() if path.is_dir() and not is_own(path)):
            if _ham10000(inner, None) or ground_truths(inner):
                raise DataError(f"{place}: {inner.name} in it is a data set of its own; give {inner}")
    return None


def _folders(place: Path, _images: Path | None) -> Found | None:
    return class_folders(place)


PROBES: Final[tuple[Callable[[Path, Path | None], Found | None], ...]] = (
    _archive,
    _pixels,
    _ham10000,
    challenge,
    _torchvision,
    _inner,
    tables,
    _folders,
)
