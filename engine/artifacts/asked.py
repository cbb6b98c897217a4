"""Reads and writes ``asked.parquet`` and ``asked.json``: the unlabelled images whose labels are asked for, best first.

Shape legend: Q questions, C classes, K neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from engine.artifacts.json_record import JsonRecord
from engine.artifacts.ragged import to_array, to_lists
from engine.artifacts.schema import Column, TableSchema
from engine.types import FloatArray, StrArray, strings

FILE: Final = "asked.parquet"
SCHEMA: Final = TableSchema(
    file=FILE,
    stages=("ask",),
    row="one unlabelled image, the one to ask about first on top",
    columns=(
        Column(name="image_id", kind="text", meaning="name of the image"),
        Column(
            name="value", kind="number", meaning="what the query policy holds its label worth; its own unit"
        ),
        Column(name="predicted", kind="text", meaning="the class the classifier gives it"),
        Column(
            name="prob",
            kind="numbers",
            meaning="the classifier's calibrated probabilities, in the order of asked.json's classes",
        ),
        Column(
            name="neighbours",
            kind="texts",
            meaning="the classifier's own images most like it by the classifier's features, nearest first, one per lesion",
        ),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Q questions; ``neighbour_ids_QK`` names labelled images, "" in an unused slot."""

    image_id: StrArray
    value_Q: FloatArray
    predicted: StrArray
    prob_QC: FloatArray
    neighbour_ids_QK: StrArray

    def __len__(self) -> int:
        return len(self.image_id)

    def take(self, rows: npt.NDArray[Any]) -> Asked:
        """Return the given questions (integer or boolean index), in the order given."""
        return replace(
            self,
            image_id=self.image_id[rows],
            value_Q=self.value_Q[rows],
            predicted=self.predicted[rows],
            prob_QC=self.prob_QC[rows],
            neighbour_ids_QK=self.neighbour_ids_QK[rows],
        )


class AskedFacts(JsonRecord):
    """How questions were chosen: ``asked.json``."""

    FILE: ClassVar[str] = "asked.json"
    STAGES: ClassVar[tuple[str, ...]] = ("ask",)

    classes: tuple[str, ...] = Field(description="class names, in the order of column prob")
    policy: str = Field(description="name of the query policy")
    wanted: int = Field(description="questions that were to be asked")
    unlabelled: int = Field(description="unlabelled images there were")
    open: int = Field(description="of those, the ones that could be asked about")
    left_out: dict[str, int] = Field(
        description="why the others could not: asked before; the lesion is asked about already; like a labelled image"
    )


def nothing() -> Asked:
    """Return no question at all."""
    none = np.zeros(0)
    return Asked(
        image_id=strings(none),
        value_Q=none,
        predicted=strings(none),
        prob_QC=none.reshape(0, 1),
        neighbour_ids_QK=strings(none).reshape(0, 1),
    )


def read(folder: Path) -> Asked:
    """Read the questions of a stage, of a run's round or of `hardcase query` (DataError: absent, damaged, incomplete)."""
    frame = SCHEMA.read(folder)
    if frame.empty:
        return nothing()
    return Asked(
        image_id=strings(frame["image_id"].tolist()),
        value_Q=frame["value"].to_numpy(dtype=np.float64),
        predicted=strings(frame["predicted"].tolist()),
        prob_QC=to_array(frame["prob"], np.nan, np.float64),
        neighbour_ids_QK=to_array(frame["neighbours"], "", np.str_),
    )


def read_ids(folder: Path) -> StrArray:
    """Return the image ids alone, the one to ask about first on top (DataError as ``read``)."""
    return strings(SCHEMA.read(folder, ["image_id"])["image_id"].tolist())


def write(asked: Asked, facts: AskedFacts, folder: Path) -> None:
    """Write both files."""
    used_QK = asked.neighbour_ids_QK != ""
    frame = pd.DataFrame(
        {
            "image_id": pd.Series(asked.image_id.tolist(), dtype=str),
            "value": np.asarray(asked.value_Q, dtype=np.float64),
            "predicted": pd.Series(asked.predicted.tolist(), dtype=str),
            "prob": asked.prob_QC.tolist(),
            "neighbours": to_lists(asked.neighbour_ids_QK, used_QK),
        }
    )
    SCHEMA.write(frame, folder)
    facts.write(folder)


def read_facts(folder: Path) -> AskedFacts:
    """Read ``asked.json`` (DataError: absent, damaged, or a key is missing)."""
    return AskedFacts.read(folder)
