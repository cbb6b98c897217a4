"""Reads and writes ``split.parquet`` and ``split.json``: the part of each used image, and what belongs together.

Shape legend: N used images.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from engine.artifacts.json_record import JsonRecord
from engine.artifacts.schema import REMEDY, Column, TableSchema
from engine.errors import DataError
from engine.types import IntArray, StrArray, strings

FILE: Final = "split.parquet"
SCHEMA: Final = TableSchema(
    file=FILE,
    stages=("split",),
    row="one used image",
    columns=(
        Column(name="image_id", kind="text", meaning="name of the image"),
        Column(name="lesion_id", kind="text", meaning="lesion it shows"),
        Column(name="dx", kind="text", meaning='diagnosis: the class; "" in part unlabelled'),
        Column(name="split", kind="text", meaning="train, mine, val or test; unlabelled without a diagnosis"),
        Column(
            name="group",
            kind="text",
            meaning="what never stands in two parts and is resampled as one: a patient's lesions, near-duplicates",
            since="0.2 (before: the lesion)",
        ),
        Column(
            name="row", kind="integer", meaning="row of images.npy", only="the stage's file, not the run's"
        ),
        Column(
            name="train_set", kind="integer", meaning="training set; -1: none", only="data.split.train_sets"
        ),
    ),
)


@dataclass(frozen=True, kw_only=True)
class SplitTable:
    """N used images; ``row_N`` is None in a run's published copy, ``train_set_N`` where no training sets are drawn."""

    image_id: StrArray
    lesion_id: StrArray
    dx: StrArray
    split: StrArray
    group_N: StrArray
    row_N: IntArray | None = None
    train_set_N: IntArray | None = None

    def __len__(self) -> int:
        return len(self.image_id)

    def take(self, rows: npt.NDArray[Any]) -> SplitTable:
        """Return the given images (integer or boolean index), in the order given."""
        return replace(
            self,
            **{
                name: getattr(self, name)[rows]
                for name in ("image_id", "lesion_id", "dx", "split", "group_N")
            },
            row_N=None if self.row_N is None else self.row_N[rows],
            train_set_N=None if self.train_set_N is None else self.train_set_N[rows],
        )

    def find(self, image_id: Sequence[str] | StrArray, why: str = "that was predicted") -> SplitTable:
        """Return the given images, in the order given (DataError: one is not in the split; ``why`` says whose it is)."""
        at = {name: row for row, name in enumerate(self.image_id.tolist())}
        absent = [str(name) for name in image_id if str(name) not in at]
        if absent:
            raise DataError(
                f"{FILE} lacks image_id {absent[0]} {why} ({len(absent)} in all); rerun `hardcase run`"
            )
        return self.take(np.array([at[str(name)] for name in image_id], dtype=np.int64))

    def own(self, train_sets: Collection[int] | None) -> npt.NDArray[np.bool_]:
        """Return which images are train images of the given training sets (None: all train images).

        Raises:
            DataError: training sets are asked for and the split draws none.
        """
        train_N = self.split == "train"
        if train_sets is None:
            return np.asarray(train_N, dtype=np.bool_)
        if self.train_set_N is None:
            raise DataError(f"{FILE} has no column train_set; rerun the split with data.split.train_sets")
        return np.asarray(train_N & np.isin(self.train_set_N, list(train_sets)), dtype=np.bool_)

    def frame(self) -> pd.DataFrame:
        """Return the columns of split.parquet, for tables that people read."""
        columns: dict[str, Any] = {
            "image_id": self.image_id,
            "lesion_id": self.lesion_id,
            "dx": self.dx,
            "split": self.split,
            "group": self.group_N,
        }
        columns |= {} if self.row_N is None else {"row": self.row_N}
        columns |= {} if self.train_set_N is None else {"train_set": self.train_set_N}
        return pd.DataFrame(columns)


class SplitFacts(JsonRecord):
    """What was split: ``split.json``."""

    FILE: ClassVar[str] = "split.json"
    STAGES: ClassVar[tuple[str, ...]] = ("split",)

    counts: dict[str, dict[str, int]] = Field(description="images per part and class")
    grouped_by: str = Field(
        description="what groups images: patient, lesion, or image where nothing is known"
    )
    merged_groups: int = Field(description="groups that near-duplicates joined to others")
    unused: int = Field(description="images of table.parquet in no part")
    left_out: int = Field(description="images that no part could take without splitting a group")
    digest: str = Field(description="sha256 of image_id and part: equal for equal splits only")
    train_sets: tuple[int, ...] | None = Field(
        None, description="images per training set (with data.split.train_sets)"
    )
    unlabelled: int = Field(0, description="images without a diagnosis; only: where there are some")
    hidden: int = Field(0, description="of those, images whose label is hidden; only: data.split.hide_labels")
    answered: int = Field(0, description="train images whose class a reader gave; only: where there are some")


def read(folder: Path) -> SplitTable:
    """Read the split of a stage or of a run folder; an older file's groups are its lesions.

    Raises:
        DataError: the file is absent, damaged, or lacks a column.
    """
    return _table(SCHEMA.read(folder))


def read_file(path: Path) -> SplitTable:
    """Read a split under another name (DataError as ``read``)."""
    return _table(SCHEMA.read_file(path))


def write(table: SplitTable, folder: Path) -> None:
    """Write ``split.parquet``."""
    SCHEMA.write(table.frame(), folder)


def publish(stage: Path, run: Path) -> None:
    """Write a run folder's copy of a stage's split: the same without ``row``."""
    SCHEMA.write(SCHEMA.read(stage).drop(columns="row", errors="ignore"), run)


def read_facts(folder: Path) -> SplitFacts:
    """Read ``split.json`` (DataError: absent, damaged, or a key is missing)."""
    return SplitFacts.read(folder)


def rows_of(table: SplitTable, folder: Path) -> IntArray:
    """Return the rows of images.npy (DataError: the file in ``folder`` is a run's copy, which has none)."""
    if table.row_N is None:
        raise DataError(f"{folder / FILE}: lacks column row; {REMEDY}")
    return table.row_N


def _table(frame: pd.DataFrame) -> SplitTable:
    return SplitTable(
        image_id=strings(frame["image_id"].tolist()),
        lesion_id=strings(frame["lesion_id"].tolist()),
        dx=strings(frame["dx"].tolist()),
        split=strings(frame["split"].tolist()),
        group_N=strings(frame["group" if "group" in frame else "lesion_id"].tolist()),
        row_N=frame["row"].to_numpy(dtype=np.int64) if "row" in frame else None,
        train_set_N=frame["train_set"].to_numpy(dtype=np.int64) if "train_set" in frame else None,
    )
