"""Reads and writes ``pool.parquet``, ``extra.npy`` and ``pool.json``: what one arm trains on in one round.

Shape legend: N rows, C classes, E images that are not of the data set, H height, W width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import pandas as pd
from pydantic import Field

from engine.artifacts.json_record import JsonRecord
from engine.artifacts.schema import REMEDY, ArraySchema, Column, TableSchema
from engine.errors import DataError
from engine.types import BoolArray, FloatArray, ImageArray, IntArray, StrArray, strings

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
        Column(name="label", kind="numbers", only="pools with soft labels",
               meaning="probability of each class of pool.json's classes; empty: the class dx alone"),
        Column(name="weight", kind="number", only="pools whose rows do not all have 1", meaning="weight in the loss"),
    ),
)  # fmt: skip
EXTRA: Final = ArraySchema(
    file="extra.npy",
    stages=("pool",),
    shape="(E, H, W, 3)",
    dtype="uint8",
    meaning="accepted synthetic images of every round so far",
)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """N rows an arm trains on: ``source`` is data or extra, ``row_N`` the row of that file, ``origin`` real or synthetic.

    ``label_NC`` are soft labels, NaN in rows whose label is ``dx`` alone; None: every row's is. ``weight_N`` is each row's
    weight in the loss; None: 1.
    """

    source: StrArray
    row_N: IntArray
    image_id: StrArray
    dx: StrArray
    origin: StrArray
    label_NC: FloatArray | None = None
    weight_N: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.image_id)

    @property
    def soft_N(self) -> BoolArray:
        """Which rows have a soft label."""
        if self.label_NC is None:
            return np.zeros(len(self), dtype=np.bool_)
        return np.asarray(~np.isnan(self.label_NC).any(axis=1))


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
    classes: tuple[str, ...] = Field(
        (), description="class names, in the order of column label; only: pools with soft labels"
    )

    @property
    def n_own(self) -> int:
        """Rows that are the classifier's own images; they come first."""
        return self.n_rows - sum(self.added.values())


def facts_of(
    pool: Pool, added: Pool, classes: Sequence[str], arm: str, wanted: Mapping[str, int]
) -> PoolFacts:
    """Return what a pool holds: ``n_real`` counts different real images, every other figure repeats too.

    ``short`` holds, per class, the rows that ``wanted`` asks for and that do not exist.
    """
    by_class = {dx: int((pool.dx == dx).sum()) for dx in classes}
    added_by_class = {dx: int((added.dx == dx).sum()) for dx in classes}
    short = {dx: n - added_by_class.get(dx, 0) for dx, n in sorted(wanted.items())}
    return PoolFacts(
        arm=arm,
        n_rows=len(pool),
        n_real=len(np.unique(pool.image_id[pool.origin == "real"])),
        n_synthetic=int((pool.origin == "synthetic").sum()),
        counts=by_class,
        added=added_by_class,
        short={dx: n for dx, n in short.items() if n > 0},
        **({"classes": tuple(classes)} if pool.soft_N.any() else {}),
    )


def rows_of(source: str, row_N: IntArray, image_id: StrArray, dx: StrArray, origin: str) -> Pool:
    """Return pool rows that all have one source and one origin."""
    return Pool(
        source=strings([source] * len(row_N)),
        row_N=row_N,
        image_id=image_id,
        dx=dx,
        origin=strings([origin] * len(row_N)),
    )


def read(folder: Path) -> Pool:
    """Read ``pool.parquet`` (DataError: absent, damaged, a column is missing, or a label is none)."""
    frame = SCHEMA.read(folder)
    return Pool(
        source=strings(frame["source"].tolist()),
        row_N=frame["row"].to_numpy(dtype=np.int64),
        image_id=strings(frame["image_id"].tolist()),
        dx=strings(frame["dx"].tolist()),
        origin=strings(frame["origin"].tolist()),
        label_NC=_labels_of(frame, SCHEMA.path(folder)) if "label" in frame else None,
        weight_N=frame["weight"].to_numpy(dtype=np.float64) if "weight" in frame else None,
    )


def joined(pools: Sequence[Pool]) -> Pool:
    """Return the rows of several pools, one after the other; all soft labels are of the same classes."""
    names = [f.name for f in fields(Pool) if f.name not in ("label_NC", "weight_N")]
    return Pool(
        **{name: np.concatenate([getattr(pool, name) for pool in pools]) for name in names},
        label_NC=_joined([pool.label_NC for pool in pools], [len(pool) for pool in pools], np.nan),
        weight_N=_joined([pool.weight_N for pool in pools], [len(pool) for pool in pools], 1.0),
    )


def _joined(parts: Sequence[FloatArray | None], lengths: Sequence[int], fill: float) -> FloatArray | None:
    """Return arrays one after the other, ``fill`` where there is none; None where there is none at all."""
    known = [part for part in parts if part is not None]
    if not known:
        return None
    return np.concatenate(
        [
            np.full((length, *known[0].shape[1:]), fill) if part is None else part
            for part, length in zip(parts, lengths, strict=True)
        ]
    )


def _labels_of(frame: pd.DataFrame, path: Path) -> FloatArray | None:
    """Return column ``label`` as (N, C), NaN where a row's is empty; None where all are."""
    rows = [np.asarray(row, dtype=np.float64) for row in frame["label"]]
    widths = {len(row) for row in rows if len(row)}
    if not widths:
        return None
    if len(widths) > 1 or not all(np.isfinite(row).all() for row in rows):
        raise DataError(
            f"{path}: column label holds rows that are no probabilities of the same classes; {REMEDY}"
        )
    label_NC = np.full((len(rows), widths.pop()), np.nan)
    for n, row in enumerate(rows):
        if len(row):
            label_NC[n] = row
    return label_NC


def write(
    pool: Pool, extra_EHWC: ImageArray, facts: PoolFacts, folder: Path, *, idle_round: bool = False
) -> None:
    """Write the three files of a pool; columns of labels and weights only where they say something.

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
    if idle_round:
        frame = frame.astype({"image_id": object, "dx": object})
    if pool.label_NC is not None and pool.soft_N.any():
        rows = zip(pool.label_NC, pool.soft_N, strict=True)
        frame["label"] = [row.tolist() if soft else [] for row, soft in rows]
    if pool.weight_N is not None and (pool.weight_N != 1.0).any():
        frame["weight"] = pool.weight_N
    SCHEMA.write(frame, folder)
    EXTRA.write(extra_EHWC, folder)
    facts.write(folder)


def read_facts(folder: Path) -> PoolFacts:
    """Read ``pool.json`` (DataError: absent, damaged, or a key is missing)."""
    return PoolFacts.read(folder)
