"""Reads the ``images`` and ``split`` stages' folders as one record that every later stage starts from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from engine.artifacts import decoded_images, lesions
from engine.artifacts import split as split_file
from engine.artifacts.decoded_images import DataFacts
from engine.errors import DataError
from engine.types import UNLABELLED, ImageArray, IntArray, LesionTable, StrArray


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The split data set: N used images with a label; ``rows`` are their positions in the memmaps of all images.

    Images without a label are in it only where it was opened with them: part UNLABELLED, dx "", label -1.

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
    facts: DataFacts
    group_N: StrArray
    train_set_N: IntArray | None = None

    @property
    def labels(self) -> IntArray:
        """Class index of each used image."""
        return self.indices(self.table.dx)

    def indices(self, dx_N: StrArray) -> IntArray:
        """Class index of each of N diagnoses, -1 for "" (KeyError for one that is no class)."""
        index = {"": -1} | {name: position for position, name in enumerate(self.classes)}
        return np.array([index[str(dx)] for dx in dx_N], dtype=np.int64)

    def where(self, split: str) -> IntArray:
        """Positions in ``table`` of one part ("train", "mine", "val", "test")."""
        return np.flatnonzero(self.table.split == split).astype(np.int64)

    def learned(self) -> IntArray:
        """Positions of what generator parts learn from: train, and behind it the unlabelled images it was opened with."""
        return np.concatenate([self.where("train"), self.where(UNLABELLED)])

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


def open_dataset(images: Path, split: Path, *, unlabelled: bool = False) -> Dataset:
    """Open the folders of the ``images`` and ``split`` stages.

    Args:
        images: the folder of stage ``images``.
        split: the folder of stage ``split``, whose labels count: some may be hidden, some a reader's.
        unlabelled: with the images that have no label. Only what asks for labels, and generator parts that may see them,
            wants these.

    Raises:
        DataError: a file is absent, damaged or lacks a column.
    """
    parts = split_file.read(split)
    if not unlabelled:
        parts = parts.take(parts.split != UNLABELLED)
    rows = split_file.rows_of(parts, split)
    facts = decoded_images.read(images)
    return Dataset(
        table=lesions.read(images).take(rows).replace(split=parts.split, dx=parts.dx),
        rows=rows,
        images_NHWC=decoded_images.open_images(images),
        masks_NHW=decoded_images.open_masks(images),
        classes=facts.classes,
        facts=facts,
        group_N=parts.group_N,
        train_set_N=parts.train_set_N,
    )


def image_source(dataset: Dataset) -> Callable[[IntArray], ImageArray]:
    """Return a function from positions in the table to their images."""

    def source(positions: IntArray) -> ImageArray:
        return np.asarray(dataset.images_NHWC[dataset.rows[positions]])

    return source
