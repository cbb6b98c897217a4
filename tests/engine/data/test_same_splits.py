"""Where every group has one class, parts, folds and training sets are those of version 2 of the split, image by image.

The digests were written by that version; studies that are done keep their splits.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from engine.config import DataConfig, FoldsConfig, SplitConfig, TrainSetsConfig
from engine.data.readers.table import read
from engine.data.splits import group_rows, split_table
from engine.data.table import limit_rows, make_table
from engine.data.train_sets import draw_train_sets
from engine.training.folds import lesion_folds
from engine.types import LesionTable, strings

CONFIGS = {
    "parts": SplitConfig(),
    "no mine": SplitConfig(mine=0.0),
    "some unused": SplitConfig(train=0.4, mine=0.1, val=0.1, test=0.1),
    "official": SplitConfig(official=True),
    "folds": SplitConfig(mine=0.1, folds=FoldsConfig(count=4, use=2)),
}
PINNED: dict[int | str, dict[str, str]] = {
    0: {
        "parts": "1390cc0975d833e6",
        "no mine": "ad2e5a5c35348574",
        "some unused": "94545010b1d7b42e",
        "official": "6aa062d2656ff934",
        "folds": "353ea13e4804b233",
        "2 folds": "a633a6cf45f9f738",
        "3 folds": "ac0899de41a76938",
        "5 folds": "7c287f0ccec33571",
        "sets": "5260f58a9ab9f0fb",
        "sets per class": "d748e2e440f411e2",
        "limit": "91648c65ddecb1d8",
    },
    1: {
        "parts": "883cc46ed1bc1bef",
        "no mine": "1069d87872c3da28",
        "some unused": "7496980a43fc0e9b",
        "official": "758f05cb65aecc12",
        "folds": "2d18e1bb33f7102e",
        "2 folds": "8e3a7f95c62bd23b",
        "3 folds": "a5aa0e3e31cf4b4b",
        "5 folds": "a0e7451f2d369690",
        "sets": "5fafccf7739e83fc",
        "sets per class": "6a7d45a038c9018c",
        "limit": "1b620ae347cec243",
    },
    2: {
        "parts": "363ee2d418f250e8",
        "no mine": "7910e6805fa730c9",
        "some unused": "6bd0d3b7463b35b4",
        "official": "5b52afcbe29019da",
        "folds": "7938c42b3b9c738b",
        "2 folds": "5d2ef29c74c1bfad",
        "3 folds": "5f49c8c97d795994",
        "5 folds": "5fa3722276e30e5b",
        "sets": "18a0c416bd773959",
        "sets per class": "eb7f9ea101e643e7",
        "limit": "02096620568457ee",
    },
    3: {
        "parts": "f52b24315f343ad2",
        "no mine": "f7ef49ed10e177cc",
        "some unused": "a9a4045affdc4ecb",
        "official": "40f0ffc4b8b12035",
        "folds": "f664bd9bd4da6182",
        "2 folds": "4b40bd55b97d5708",
        "3 folds": "9096c0f426406982",
        "5 folds": "effe4d7512fd873c",
        "sets": "6ebb38ca65c08f65",
        "sets per class": "0983dfcfaf1623ca",
        "limit": "c4e22a961fd127f7",
    },
    "ham10000": {
        "parts": "140b09f99fba9014",
        "no mine": "693f2c93298afbb6",
        "some unused": "a8e4106f990f1a56",
        "official": "140b09f99fba9014",
        "folds": "da1119752d2e0691",
        "2 folds": "4de271cd44ba5e6c",
        "3 folds": "c98abc640f02a63c",
        "5 folds": "38c240c907ecc392",
        "sets": "e9c380dd053a04d2",
        "sets per class": "7e6bb484ce5ece6e",
        "limit": "26cdd4c54855fb94",
    },
}


def patients_of_one_class(seed: int) -> LesionTable:
    """Return 80 to 140 patients, each with one to three images in one or two lesions; rows in random order."""
    rng = np.random.default_rng(seed)
    rows = []
    for patient in range(int(rng.integers(80, 140))):
        dx = "df" if patient < 9 else str(rng.choice(["mel", "nv", "bkl"], p=[0.3, 0.5, 0.2]))
        part = str(rng.choice(["", "train", "test"], p=[0.5, 0.3, 0.2])) if dx != "df" else "train"
        for view in range(int(rng.integers(1, 4))):
            rows.append((f"i{patient:03d}{view}", dx, f"L{patient}{view % 2}", f"P{patient:03d}", part))
    image, dx, lesion, patient, part = zip(*(rows[k] for k in rng.permutation(len(rows))), strict=True)
    return make_table("here", image, dx, lesion_id=lesion, patient_id=patient, split=part)


def digest(table: LesionTable, *columns: object) -> str:
    """Return 16 hex digits over each image with what it was assigned."""
    texts = [np.asarray(column).astype(str).tolist() for column in (table.image_id, *columns)]
    return hashlib.sha256(
        "\n".join(sorted("\t".join(row) for row in zip(*texts, strict=True))).encode()
    ).hexdigest()[:16]


def assignments(table: LesionTable, seed: int, sets: TrainSetsConfig) -> dict[str, str]:
    """Return a digest of every way in which a table is dealt out."""
    found = {name: digest(table, split_table(table, config, seed).part_N) for name, config in CONFIGS.items()}
    group_N = group_rows(table)
    for count in (2, 3, 5):
        found[f"{count} folds"] = digest(table, lesion_folds(group_N, table.dx, count, seed))
    part_N = split_table(table, CONFIGS["parts"], seed).part_N
    in_train_N = strings(np.where(part_N == "train", group_N, "").tolist())
    for name, config in (
        ("sets", sets),
        ("sets per class", sets.model_copy(update={"per_class": True, "images": 12})),
    ):
        found[name] = digest(table, draw_train_sets(table, in_train_N, config, seed))
    kept = limit_rows(table, len(table) // 2, seed)
    found["limit"] = digest(table.take(kept))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_groups_of_one_class_are_dealt_as_before(seed: int) -> None:
    assert assignments(patients_of_one_class(seed), seed, TrainSetsConfig(count=2, images=30)) == PINNED[seed]


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.skipif("HARDCASE_DATA" not in os.environ, reason="HARDCASE_DATA is not set")
def test_ham10000_is_dealt_as_before() -> None:
    root = Path(os.environ["HARDCASE_DATA"]) / "ham10000"
    table = read(DataConfig.model_validate({"format": "ham10000", "root": str(root)}), 0).table
    assert assignments(table, 0, TrainSetsConfig(count=5, images=500)) == PINNED["ham10000"]
