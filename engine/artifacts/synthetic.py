"""Reads and writes ``synthetic.parquet``: every synthetic image of a round with the verdict on it and the reasons.

Shape legend: S samples, C classes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from engine.artifacts import conditioning
from engine.artifacts.conditioning import Samples, samples_of
from engine.artifacts.ragged import to_array
from engine.artifacts.schema import REMEDY, Column, TableSchema
from engine.errors import DataError
from engine.types import FloatArray, StrArray, Verdicts, strings

FILE: Final = "synthetic.parquet"
SCHEMA: Final = TableSchema(
    file=FILE,
    stages=("accept",),
    row="one synthetic image, in the order of conditioning.parquet and of synthesize's images.npy",
    columns=(
        *conditioning.COLUMNS,
        Column(name="file", kind="text", meaning="its picture, relative to the round's folder"),
        Column(name="accepted", kind="flag", meaning="whether it may train"),
        Column(name="reasons", kind="text", meaning='why not, "; " between reasons; "" where accepted'),
        Column(name="judge_p", kind="number", meaning="the judge's probability of its class"),
        Column(name="judge_predicted", kind="text", meaning="the class the judge gives it"),
        Column(name="nearest_train_id", kind="text", meaning="the nearest real train image"),
        Column(name="nearest_train_distance", kind="number", meaning="cosine distance (0-2) of fused embeddings to it"),
        Column(name="policy", kind="text", meaning="name of the acceptance policy"),
        Column(name="checkpoint", kind="text", meaning="digest of the generator's weights"),
        Column(name="value", kind="number", since="0.3",
               meaning="what the selection policy holds the image worth; NaN: all that pass train"),
        Column(name="judge_prob", kind="numbers", since="0.3",
               meaning="the judge's calibrated probabilities, in the order of accept.json's classes"),
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SyntheticTable:
    """S synthetic images: what each is made of, the verdict, the figures behind it, and its provenance.

    ``judge_p_S`` is at temperature 1, as the gates are; ``judge_prob_SC`` is calibrated (None: an earlier version's table).
    """

    samples: Samples
    verdicts: Verdicts
    judge_p_S: FloatArray
    judge_predicted_S: StrArray
    nearest_train_id_S: StrArray
    nearest_train_distance_S: FloatArray
    policy: str
    checkpoint: str
    judge_prob_SC: FloatArray | None = None
    value_S: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def file_S(self) -> StrArray:
        """Each picture's file, relative to the round's folder."""
        return strings([picture(name) for name in self.samples.sample_id.tolist()])

    @property
    def accepted_S(self) -> npt.NDArray[np.bool_]:
        """Which images may train."""
        return self.verdicts.accepted_S

    def take(self, rows: npt.NDArray[Any]) -> SyntheticTable:
        """Return the given images (integer or boolean index), in the order given."""
        names = ("judge_p_S", "judge_predicted_S", "nearest_train_id_S", "nearest_train_distance_S")
        prob_SC, value_S = self.judge_prob_SC, self.value_S
        return replace(
            self,
            samples=self.samples.take(rows),
            verdicts=Verdicts(
                accepted_S=self.verdicts.accepted_S[rows], reason_S=self.verdicts.reason_S[rows]
            ),
            judge_prob_SC=None if prob_SC is None else prob_SC[rows],
            value_S=None if value_S is None else value_S[rows],
            **{name: getattr(self, name)[rows] for name in names},
        )


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a pool needs of S images: class, parent, and whether they may train."""

    sample_id: StrArray
    label_S: StrArray
    parent_image_id: StrArray
    accepted_S: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.sample_id)


def picture(sample_id: str) -> str:
    """Return a sample's picture, relative to the round's folder and to ``synthesize``'s."""
    return f"synthetic/{sample_id}.png"


def read(folder: Path) -> SyntheticTable:
    """Read the images of a stage or of a run's round (DataError: absent, damaged, or a column is missing)."""
    frame = SCHEMA.read(folder)
    prob_SC = to_array(frame["judge_prob"], np.nan, np.float64) if "judge_prob" in frame else None
    return SyntheticTable(
        samples=samples_of(frame),
        verdicts=Verdicts(
            accepted_S=frame["accepted"].to_numpy(dtype=np.bool_), reason_S=strings(frame["reasons"].tolist())
        ),
        judge_p_S=frame["judge_p"].to_numpy(dtype=np.float64),
        judge_predicted_S=strings(frame["judge_predicted"].tolist()),
        nearest_train_id_S=strings(frame["nearest_train_id"].tolist()),
        nearest_train_distance_S=frame["nearest_train_distance"].to_numpy(dtype=np.float64),
        policy=str(frame["policy"].iloc[0]) if len(frame) else "",
        checkpoint=str(frame["checkpoint"].iloc[0]) if len(frame) else "",
        judge_prob_SC=prob_SC,
        value_S=frame["value"].to_numpy(dtype=np.float64) if "value" in frame else None,
    )


def read_judgement(folder: Path) -> Judgement:
    """Read what decides about training alone (DataError as ``read``)."""
    frame = SCHEMA.read(folder, ["sample_id", "dx", "parent_image_id", "accepted"])
    return Judgement(
        sample_id=strings(frame["sample_id"].tolist()),
        label_S=strings(frame["dx"].tolist()),
        parent_image_id=strings(frame["parent_image_id"].tolist()),
        accepted_S=frame["accepted"].to_numpy(dtype=np.bool_),
    )


def read_sample_ids(folder: Path) -> StrArray:
    """Return the samples' names alone (DataError as ``read``)."""
    return strings(SCHEMA.read(folder, ["sample_id"])["sample_id"].tolist())


def read_judge_prob(folder: Path, classes: int) -> FloatArray:
    """Return the judge's calibrated probabilities (S, C) alone.

    Raises:
        DataError: as ``read``; the table is an earlier version's; a row is not ``classes`` numbers.
    """
    rows = SCHEMA.read(folder, ["judge_prob"])["judge_prob"].tolist()
    if any(len(row) != classes or not np.isfinite(row).all() for row in rows):
        raise DataError(f"{SCHEMA.path(folder)}: column judge_prob does not hold {classes} numbers; {REMEDY}")
    return np.array(rows, dtype=np.float64).reshape(len(rows), classes)


def read_frame(folder: Path, columns: Collection[str] = ()) -> pd.DataFrame:
    """Return the table itself or some ``columns`` of it, for sheets and exports (DataError as ``read``)."""
    return SCHEMA.read(folder, columns)


def read_shown(folder: Path, columns: Collection[str]) -> pd.DataFrame:
    """Return some columns, those that came later as NaN where an older file lacks them (DataError as ``read``)."""
    later = {column.name for column in SCHEMA.columns if not column.required}
    there = [name for name in columns if name not in later or SCHEMA.has(folder, name)]
    return SCHEMA.read(folder, there).reindex(columns=list(columns))


def write(table: SyntheticTable, folder: Path) -> None:
    """Write the images of a round with their verdicts."""
    found = conditioning.arrow_of(table.samples, conditioning.READ_BACK)
    columns = {
        "file": pa.array(table.file_S.tolist(), pa.string()),
        "accepted": pa.array(table.verdicts.accepted_S.tolist(), pa.bool_()),
        "reasons": pa.array(table.verdicts.reason_S.tolist(), pa.string()),
        "judge_p": pa.array(table.judge_p_S.tolist(), pa.float64()),
        "judge_predicted": pa.array(table.judge_predicted_S.tolist(), pa.string()),
        "nearest_train_id": pa.array(table.nearest_train_id_S.tolist(), pa.string()),
        "nearest_train_distance": pa.array(table.nearest_train_distance_S.tolist(), pa.float64()),
        "policy": pa.array([table.policy] * len(table), pa.string()),
        "checkpoint": pa.array([table.checkpoint] * len(table), pa.string()),
    }
    if table.value_S is not None:
        columns["value"] = pa.array(
            np.asarray(table.value_S, dtype=np.float64), pa.float64(), from_pandas=False
        )
    if table.judge_prob_SC is not None:
        columns["judge_prob"] = pa.array(table.judge_prob_SC.tolist(), pa.list_(pa.float64()))
    for name, column in columns.items():
        found = found.append_column(name, column)
    SCHEMA.write_arrow(found, folder)
