"""Stage ``split``: assigns each decoded image to train, mine, val or test, whole groups at a time."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pandas as pd

from engine.config import SplitConfig
from engine.data.splits import split_table
from engine.stages.base import StageContext
from engine.stages.dataset import read_table
from engine.types import SPLITS, LesionTable, StrArray


def run(context: StageContext) -> None:
    """Fill ``split.parquet`` (image_id, lesion_id, dx, split, row; used images only) and ``split.json``.

    Params: ``split`` (SplitConfig's dump). Inputs: ``images``. Seeded by ``context.seed``.

    Raises:
        DataError: a class has fewer groups than parts.
    """
    config = SplitConfig.model_validate(context.params["split"])
    images = context.inputs["images"]
    table = read_table(images / "table.parquet")
    info = json.loads((images / "data.json").read_text(encoding="utf-8"))
    pairs = pd.read_parquet(images / "duplicates.parquet")
    duplicates = zip(pairs["image_id_1"].astype(str), pairs["image_id_2"].astype(str), strict=True)
    split = split_table(table, config, context.seed, duplicates)
    used = np.flatnonzero(split.part_N != "")
    pd.DataFrame(
        {
            "image_id": table.image_id[used],
            "lesion_id": table.lesion_id[used],
            "dx": table.dx[used],
            "split": split.part_N[used],
            "row": used.astype(np.int64),
        }
    ).to_parquet(context.out / "split.parquet", index=False)
    result = {
        "counts": split_counts(table, split.part_N),
        "grouped_by": info["grouped_by"],
        "merged_groups": split.merged_groups,
        "unused": len(table) - len(used),
        "left_out": split.left_out,
        "digest": split_digest(table.image_id[used], split.part_N[used]),
    }
    (context.out / "split.json").write_text(
        json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8"
    )


def split_counts(table: LesionTable, part_N: StrArray) -> dict[str, dict[str, int]]:
    """Return images a part and class."""
    return {
        part: {dx: int(np.sum((part_N == part) & (table.dx == dx))) for dx in table.classes}
        for part in SPLITS
    }


def split_digest(image_id: StrArray, part: StrArray) -> str:
    """Return the sha256 of the sorted lines ``image_id<TAB>split``: equal exactly for equal splits."""
    lines = sorted(f"{name}\t{value}" for name, value in zip(image_id, part, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
