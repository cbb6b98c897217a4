"""Reads and writes ``oof.parquet`` and ``judge.json``: the judge's predictions out of fold, its recall and thresholds.

Shape legend: N train images, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import pandas as pd
from pydantic import Field

from engine.artifacts.json_record import JsonRecord
from engine.artifacts.predictions import (
    PROBABILITY,
    labels,
    probabilities,
    probability_classes,
    probability_columns,
)
from engine.artifacts.schema import Column, TableSchema
from engine.types import FloatArray, IntArray, StrArray, strings

FILE: Final = "oof.parquet"
WEIGHTS: Final = "fold_{fold}.safetensors"
SCHEMA: Final = TableSchema(
    file=FILE,
    stages=("judge",),
    row="one train image",
    columns=(
        Column(name="image_id", kind="text", meaning="name of the image"),
        Column(name="fold", kind="integer", meaning="fold that held the image's lesion out and predicted it"),
        Column(name="dx", kind="text", meaning="diagnosis: the class"),
        PROBABILITY,
    ),
)


@dataclass(frozen=True, kw_only=True)
class OutOfFold:
    """The judge's predictions of N train images, each by the fold that saw no image of its lesion; temperature 1."""

    image_id: StrArray
    fold_N: IntArray
    label_N: IntArray
    classes: tuple[str, ...]
    prob_NC: FloatArray


class JudgeFacts(JsonRecord):
    """How good the judge is, and from which probability on a sample is typical: ``judge.json``."""

    FILE: ClassVar[str] = "judge.json"
    STAGES: ClassVar[tuple[str, ...]] = ("judge",)
    INDENT: ClassVar[int | None] = 2
    SORTED: ClassVar[bool] = True

    model: str = Field(description="architecture")
    folds: int = Field(description="fits, each without one fold of the lesions")
    classes: tuple[str, ...] = Field(description="class names, in the order of the probabilities")
    oof_accuracy: float | None = Field(description="share of train images right out of fold")
    oof_recall: dict[str, float | None] = Field(description="the same per class; null without images")
    val_accuracy: float | None = Field(
        description="share of val images that the mean of the folds gets right"
    )
    val_recall: dict[str, float | None] = Field(description="the same per class; null without images")
    thresholds: dict[str, float | None] = Field(description="per class: the gate of policy label_consistent")
    temperature: float = Field(
        1.0,
        gt=0.0,
        description="divides a fold's logits for soft labels, fitted out of fold; gates are at 1; since 0.3",
    )
    val: dict[str, Any] = Field(
        default_factory=dict,
        description="figures of val in report.json's layout, of the mean of the folds at the temperature; since 0.3",
    )


def read(folder: Path) -> OutOfFold:
    """Read ``oof.parquet`` (DataError: absent, damaged, or a column is missing)."""
    frame = SCHEMA.read(folder)
    classes = probability_classes(frame)
    return OutOfFold(
        image_id=strings(frame["image_id"].tolist()),
        fold_N=frame["fold"].to_numpy(dtype=np.int64),
        label_N=labels(strings(frame["dx"].tolist()), classes, FILE),
        classes=classes,
        prob_NC=probabilities(frame, classes, SCHEMA.path(folder)),
    )


def read_fold_of(folder: Path) -> dict[str, int]:
    """Return {image_id: the fold that held it out} of every train image (DataError as ``read``)."""
    frame = SCHEMA.read(folder, ["image_id", "fold"])
    return dict(zip(map(str, frame["image_id"]), map(int, frame["fold"]), strict=True))


def write(out_of_fold: OutOfFold, folder: Path) -> None:
    """Write ``oof.parquet``."""
    names = np.array(out_of_fold.classes, dtype=np.str_)
    frame = pd.DataFrame(
        {
            "image_id": out_of_fold.image_id,
            "fold": out_of_fold.fold_N,
            "dx": names[out_of_fold.label_N],
            **probability_columns(out_of_fold.classes, out_of_fold.prob_NC),
        }
    )
    SCHEMA.write(frame, folder)


def read_facts(folder: Path) -> JudgeFacts:
    """Read ``judge.json`` (DataError: absent, damaged, or a key is missing)."""
    return JudgeFacts.read(folder)
