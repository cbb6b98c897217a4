"""The split that ``hardcase evaluate`` gives external data: all of it test, patients and near-duplicates together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from engine.artifacts import lesions
from engine.commands.evaluate_command import _one_part
from engine.store import StageFolder
from engine.types import LesionTable, strings


def test_external_images_are_grouped_by_patient_lesion_and_duplicate(tmp_path: Path) -> None:
    blank = strings([""] * 6)
    table = LesionTable(
        image_id=strings(list("abcdef")), lesion_id=strings(["L1", "L2", "L3", "", "", "L6"]),
        patient_id=strings(["P1", "P1", "", "", "", ""]), dx=strings(["nv"] * 6), split=blank,
        origin=strings(["real"] * 6), age=np.full(6, np.nan), sex=blank, localization=blank, skin_type=blank, path=blank,
        mask_path=blank,
    )  # fmt: skip
    images = tmp_path / "images"
    images.mkdir()
    lesions.write(table, images)
    pairs = {"image_id_1": ["d"], "image_id_2": ["f"], "distance": [0.1]}
    pd.DataFrame(pairs).to_parquet(images / "duplicates.parquet")
    _one_part(StageFolder(name="images", key="0", path=images, seconds=0.0, cached=False), tmp_path / "split")
    frame = pd.read_parquet(tmp_path / "split" / "split.parquet")
    assert frame["lesion_id"].tolist() == ["L1", "L2", "L3", "d", "e", "L6"]
    assert frame["group"].tolist() == ["L1", "L1", "L3", "L6", "e", "L6"]
    assert set(frame["split"]) == {"test"} and frame["row"].tolist() == list(range(6))
