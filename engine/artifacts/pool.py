"""Reads and writes ``pool.parquet``, ``extra.npy`` and ``pool.json``: what one arm trains on in one round.

Shape legend: N rows, E images that are not of the data set, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import pandas as pd
from pydantic import Field

from engine.artifacts.json_record import JsonRecord
from engine.artifacts.schema import ArraySchema, Column, TableSchema
from engine.types import ImageArray, IntArray, StrArray, strings

FILE: Final = "pool.parquet"
SCHEMA: Final = TableSchema(
    file=FILE,
    stages=("pool",),
    row="one training image, repeats too; the classifier's own images come first",
    columns=(
        Column(name="source", kind="text", meaning="data: a row of images.npy; extra: a row of extra.npy"),
        Column(name="row", kind="integer", meaning="row of that file"),
        Column(name="image_id", kind="text", meaning="name of the image or sample"),
        Column(name="dx", kind="text", meaning="its class"),
        Column(name="origin", kind="text", meaning="real or synthetic"),
    ),
)
EXTRA: Final = ArraySchema(
    file="extra.npy",
    stages=("pool",),
    shape="(E, H, W, 3)",
    dtype="uint8",
    meaning="accepted synthetic images of every round so far",
)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """N rows an arm trains on: ``source`` is data or extra, ``row_N`` the row of that file, ``origin`` real or synthetic."""

    source: StrArray
    row_N: IntArray
    image_id: StrArray
    dx: StrArray
    origin: StrArray

    def __len__(self) -> int:
        return len(self.image_id)


class PoolFacts(JsonRecord):
    """What a pool holds: ``pool.json``."""

    FILE: ClassVar[str] = "pool.json"
    STAGES: ClassVar[tuple[str, ...]] = ("pool",)
    INDENT: ClassVar[int | None] = 2
    SORTED: ClassVar[bool] = True

    arm: str = Field(description="the arm it is made for")
    n_rows: int = Field(description="rows, repeats too")
    n_real: int = Field(description="different real images")
    n_synthetic: int = Field(description="synthetic images")
    counts: dict[str, int] = Field(description="rows per class")
    added: dict[str, int] = Field(
        description="rows per class that the arm adds to the classifier's own images"
    )
    short: dict[str, int] = Field(description="rows per class that were asked for and do not exist")

    @property
    def n_own(self) -> int:
        """Rows that are the classifier's own images; they come first."""
        return self.n_rows - sum(self.added.values())


def read(folder: Path) -> Pool:
    """Read ``pool.parquet`` (DataError: absent, damaged, or a column is missing)."""
    frame = SCHEMA.read(folder)
    return Pool(
        source=strings(frame["source"].tolist()),
        row_N=frame["row"].to_numpy(dtype=np.int64),
        image_id=strings(frame["image_id"].tolist()),
        dx=strings(frame["dx"].tolist()),
        origin=strings(frame["origin"].tolist()),
    )


def joined(pools: Sequence[Pool]) -> Pool:
    """Return the rows of several pools, one after the other."""
    return Pool(**{f.name: np.concatenate([getattr(pool, f.name) for pool in pools]) for f in fields(Pool)})


def write(
    pool: Pool, extra_EHWC: ImageArray, facts: PoolFacts, folder: Path, *, idle_round: bool = False
) -> None:
    """Write the three files of a pool.

    ``idle_round``: a round added no synthetic image. image_id and dx are then stored as arrow ``string`` instead of
    ``large_string``, as they always were, so that the bytes of a pool do not change.
    """
    frame = pd.DataFrame(
        {
            "source": pool.source,
            "row": pool.row_N,
            "image_id": pool.image_id,
            "dx": pool.dx,
            "origin": pool.origin,
        }
    )
    SCHEMA.write(frame.astype({"image_id": object, "dx": object}) if idle_round else frame, folder)
    EXTRA.write(extra_EHWC, folder)
    facts.write(folder)


def read_facts(folder: Path) -> PoolFacts:
    """Read ``pool.json`` (DataError: absent, damaged, or a key is missing)."""
    return PoolFacts.read(folder)
