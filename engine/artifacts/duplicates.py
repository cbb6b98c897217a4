"""Reads and writes ``duplicates.parquet``: pairs of images of different lesions that show the same, and how they lie.

Shape legend: P pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from engine.artifacts.schema import Column, TableSchema
from engine.types import BoolArray, FloatArray, IntArray, StrArray, strings

FILE: Final = "duplicates.parquet"
PLACEMENT: Final = ("log_zoom", "angle", "shift_x", "shift_y")
LARGE: Final = "pictures of 96 px or more"
PIXELS: Final = "pixels"
KEYPOINTS: Final = "keypoints"
HALF: Final = 8
"""Inliers at which a pair found by keypoints has the distance 1/2."""
SCHEMA: Final = TableSchema(
    file=FILE,
    stages=("images",),
    row="one pair of near-duplicates",
    columns=(
        Column(name="image_id_1", kind="text", meaning="the image that comes first in table.parquet"),
        Column(name="image_id_2", kind="text", meaning="the other image"),
        Column(name="distance", kind="number", meaning="1 - agreement of fine detail once registered"),
        Column(name="exact", kind="flag", meaning="whether the pixels are equal", since="0.2"),
        Column(
            name="turn", kind="text", meaning="turn of the square that the second image needs", since="0.2"
        ),
        Column(name="log_zoom", kind="number", meaning="log of the second image's zoom", since="0.2"),
        Column(name="angle", kind="number", meaning="its rotation in radians", since="0.2"),
        Column(name="shift_x", kind="number", meaning="its shift to the right, in sides", since="0.2"),
        Column(name="shift_y", kind="number", meaning="its shift downwards, in sides", since="0.2"),
        Column(
            name="by",
            kind="text",
            meaning=f"what found the pair: {PIXELS}, or {KEYPOINTS} alone (a second photograph; its distance is "
            f"{HALF} / ({HALF} + inliers))",
            only=LARGE,
        ),
        Column(
            name="inliers",
            kind="integer",
            meaning="distinct keypoints that one similarity lays onto each other; 0: not found by keypoints",
            only=LARGE,
        ),
        Column(
            name="sure",
            kind="flag",
            meaning="whether data.split.merge_duplicates joins the pair",
            only=LARGE,
        ),
    ),
)


@dataclass(frozen=True, kw_only=True)
class DuplicatePairs:
    """P pairs; ``exact_P``, ``turn_P`` and ``placement_P4`` (PLACEMENT) are None in tables of before 0.2.

    ``by_P`` (PIXELS or KEYPOINTS), ``inliers_P`` and ``sure_P`` are None where keypoints were not sought.
    """

    first_P: StrArray
    second_P: StrArray
    distance_P: FloatArray
    exact_P: BoolArray | None = None
    turn_P: StrArray | None = None
    placement_P4: FloatArray | None = None
    by_P: StrArray | None = None
    inliers_P: IntArray | None = None
    sure_P: BoolArray | None = None

    def __len__(self) -> int:
        return len(self.first_P)

    @property
    def ids(self) -> list[tuple[str, str]]:
        """The pairs of image ids that are sure, for what joins groups."""
        sure_P = np.ones(len(self), np.bool_) if self.sure_P is None else self.sure_P
        return list(zip(self.first_P[sure_P].tolist(), self.second_P[sure_P].tolist(), strict=True))


def read(folder: Path) -> DuplicatePairs:
    """Read the pairs of an ``images`` stage (DataError: absent, damaged, or a column is missing)."""
    frame = read_frame(folder)
    placed = all(name in frame for name in PLACEMENT)
    large = "by" in frame
    return DuplicatePairs(
        first_P=strings(frame["image_id_1"].tolist()),
        second_P=strings(frame["image_id_2"].tolist()),
        distance_P=frame["distance"].to_numpy(dtype=np.float64),
        exact_P=frame["exact"].to_numpy(dtype=np.bool_) if "exact" in frame else None,
        turn_P=strings(frame["turn"].tolist()) if "turn" in frame else None,
        placement_P4=frame[list(PLACEMENT)].to_numpy(dtype=np.float64) if placed else None,
        by_P=strings(frame["by"].tolist()) if large else None,
        inliers_P=frame["inliers"].to_numpy(dtype=np.int64) if large else None,
        sure_P=frame["sure"].to_numpy(dtype=np.bool_) if large else None,
    )


def read_frame(folder: Path) -> pd.DataFrame:
    """Return the pairs as a table, for the audit's sheets (DataError as ``read``)."""
    return SCHEMA.read(folder)


def write(pairs: DuplicatePairs, folder: Path) -> None:
    """Write the pairs of an ``images`` stage, with all columns that its pictures have."""
    assert pairs.exact_P is not None and pairs.turn_P is not None and pairs.placement_P4 is not None
    frame = pd.DataFrame(
        {
            "image_id_1": pairs.first_P,
            "image_id_2": pairs.second_P,
            "distance": pairs.distance_P,
            "exact": pairs.exact_P,
            "turn": pairs.turn_P.tolist(),
            **dict(zip(PLACEMENT, pairs.placement_P4.T, strict=True)),
        }
    )
    if pairs.by_P is not None and pairs.inliers_P is not None and pairs.sure_P is not None:
        frame = frame.assign(by=pairs.by_P.tolist(), inliers=pairs.inliers_P, sure=pairs.sure_P)
    SCHEMA.write(frame, folder)
