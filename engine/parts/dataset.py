"""Reads the ``images`` and ``split`` stages' folders as one record that every later stage starts from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.errors import DataError
from engine.training.folds import with_groups
from engine.types import ImageArray, IntArray, LesionTable, StrArray, strings


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The split data set: N used images; ``rows`` are their positions in the memmaps of all images.

    ``images_NHWC`` and ``masks_NHW`` are read-only memmaps over every decoded image (index them by ``rows``).
    ``group_N`` names what belongs together beyond a lesion's photographs: the lesions of one patient, near-duplicates. What
    holds images out, or resamples them, takes whole groups. ``train_set_N`` is each image's training set, -1 for none;
    None where the split draws no sets.
    """

    table: LesionTable
    rows: IntArray
    images_NHWC: ImageArray
    masks_NHW: ImageArray
    classes: tuple[str, ...]
    info: Mapping[str, Any]
    group_N: StrArray
    train_set_N: IntArray | None = None

    @property
    def labels(self) -> IntArray:
        """Class index of each used image."""
        index = {name: position for position, name in enumerate(self.classes)}
        return np.array([index[str(dx)] for dx in self.table.dx], dtype=np.int64)

    def where(self, split: str) -> IntArray:
        """Positions in ``table`` of one part ("train", "mine", "val", "test")."""
        return np.flatnonzero(self.table.split == split).astype(np.int64)

    def own(self, train_sets: Sequence[int] | None) -> IntArray:
        """Positions of the train images that the classifier itself trains on: those of its training sets.

        None: the split draws no sets and all of train is its own. ``where("train")`` is what the generator parts see;
        under ``loop.generator_saw: train`` that is more.
        """
        train = self.where("train")
        if train_sets is None:
            return train
        if self.train_set_N is None:
            raise DataError(
                "split.parquet has no column train_set; rerun the split with data.split.train_sets"
            )
        return train[np.isin(self.train_set_N[train], train_sets)]

    def positions(self, image_id: npt.NDArray[np.str_]) -> IntArray:
        """Positions in ``table`` of the given image ids (KeyError for an unknown one)."""
        index = {str(name): position for position, name in enumerate(self.table.image_id)}
        return np.array([index[str(name)] for name in image_id], dtype=np.int64)


def open_dataset(images: Path, split: Path) -> Dataset:
    """Open the folders of the ``images`` and ``split`` stages (see ARCHITECTURE.md for their files)."""
    table = read_table(images / "table.parquet")
    parts = pd.read_parquet(split / "split.parquet")
    rows = parts["row"].to_numpy(dtype=np.int64)
    info = json.loads((images / "data.json").read_text(encoding="utf-8"))
    return Dataset(
        table=table.take(rows).replace(split=strings(parts["split"].tolist())),
        rows=rows,
        images_NHWC=np.load(images / "images.npy", mmap_mode="r"),
        masks_NHW=np.load(images / "masks.npy", mmap_mode="r"),
        classes=tuple(info["classes"]),
        info=info,
        group_N=strings(with_groups(parts)["group"].tolist()),
        train_set_N=parts["train_set"].to_numpy(dtype=np.int64) if "train_set" in parts else None,
    )


def image_source(dataset: Dataset) -> Callable[[IntArray], ImageArray]:
    """Return a function from positions in the table to their images."""

    def source(positions: IntArray) -> ImageArray:
        return np.asarray(dataset.images_NHWC[dataset.rows[positions]])

    return source


def read_table(path: Path) -> LesionTable:
    """Read a LesionTable from parquet; a column it lacks (an older run's) is unknown for every image."""
    frame = pd.read_parquet(path)
    frame = frame.assign(**{f.name: "" for f in fields(LesionTable) if f.name not in frame})
    columns: dict[str, Any] = {
        f.name: strings(frame[f.name].tolist()) for f in fields(LesionTable) if f.name != "age"
    }
    return LesionTable(**columns, age=frame["age"].to_numpy(dtype=np.float64))


def write_table(table: LesionTable, path: Path) -> None:
    """Write a LesionTable as parquet."""
    pd.DataFrame({f.name: getattr(table, f.name) for f in fields(LesionTable)}).to_parquet(path, index=False)
