"""What a run says of itself: no run is called safe whose near-duplicates lie in two parts of the split."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from engine.artifacts import duplicates, lesions, split
from engine.artifacts.decoded_images import DataFacts
from engine.artifacts.duplicates import DuplicatePairs
from engine.artifacts.split import SplitTable
from engine.config import LoopConfig, SplitConfig
from engine.data.assignment import assign
from engine.data.table import make_table
from engine.pipeline.run_report import duplicates_apart, protocol
from engine.store import StageFolder
from engine.types import UNLABELLED, LesionTable, strings

PARTS = {"a": "train", "b": "test", "c": "val", "d": "train", "e": UNLABELLED}


def stage(folder: Path, name: str) -> StageFolder:
    return StageFolder(name=name, key=name, path=folder / name, seconds=0.0, cached=False)


def folders(
    folder: Path,
    parts: dict[str, str],
    pairs: list[tuple[str, str]],
    sure: list[bool] | None = None,
    grouped_by: str = "lesion",
) -> tuple[StageFolder, StageFolder]:
    """Return the stages ``images`` and ``split`` of data with these parts and pairs."""
    images, parted = stage(folder, "images"), stage(folder, "split")
    for made in (images, parted):
        made.path.mkdir()
    DataFacts(
        classes=("mel", "nv"), n_images=len(parts), n_lesions=len(parts), counts={}, grouped_by=grouped_by,
        masks={}, masks_degenerate=0, skipped=(), image_size=16, digest="d",
    ).write(images.path)  # fmt: skip
    names, count = strings(list(parts)), len(pairs)
    found = DuplicatePairs(
        first_P=strings([a for a, _ in pairs]), second_P=strings([b for _, b in pairs]),
        distance_P=np.zeros(count), exact_P=np.zeros(count, np.bool_), turn_P=strings([""] * count),
        placement_P4=np.zeros((count, 4)),
        **({} if sure is None else {
            "by_P": strings(["pixels"] * count), "inliers_P": np.zeros(count, np.int64), "sure_P": np.array(sure),
        }),
    )  # fmt: skip
    duplicates.write(found, images.path)
    table = SplitTable(
        image_id=names, lesion_id=names, dx=strings(["mel"] * len(parts)),
        split=strings(list(parts.values())), group_N=names,
    )  # fmt: skip
    split.write(table, parted.path)
    return images, parted


@pytest.mark.parametrize(
    ("pairs", "sure", "apart", "said"),
    [
        ([("a", "b"), ("c", "d"), ("a", "d")], None, 2, "leaky_by_duplicates"),
        ([("a", "d")], None, 0, "safe"),
        ([("a", "b")], [False], 0, "safe"),
        ([("a", "b"), ("b", "c")], [False, True], 1, "leaky_by_duplicates"),
        ([("a", "e")], None, 0, "safe"),
        ([("b", "e")], None, 1, "leaky_by_duplicates"),
        ([("a", "gone")], None, 0, "safe"),
        ([], None, 0, "safe"),
    ],
    ids=["two of three", "one part", "not sure", "one sure", "unlabelled may train", "and then leaks", "unused", "none"],
)  # fmt: skip
def test_sure_pairs_in_two_parts(
    tmp_path: Path, pairs: list[tuple[str, str]], sure: list[bool] | None, apart: int, said: str
) -> None:
    images, parts = folders(tmp_path, PARTS, pairs, sure)
    assert duplicates_apart(images, parts) == apart
    assert protocol(LoopConfig(mine_from="crossfit"), images, parts) == said
    assert protocol(LoopConfig(mine_from="test"), images, parts) == "leaky"


def test_known_leakage_is_named_before_what_could_be(tmp_path: Path) -> None:
    images, parts = folders(tmp_path, PARTS, [("a", "b")], grouped_by="image")
    assert protocol(LoopConfig(), images, parts) == "leaky_by_duplicates"


@pytest.mark.parametrize(("merge", "said"), [(True, "safe"), (False, "leaky_by_duplicates")])
def test_merge_duplicates_decides(tmp_path: Path, merge: bool, said: str) -> None:
    count = 60
    empty = {f.name: strings([""] * count) for f in fields(LesionTable)}
    table = LesionTable(**empty | {
        "image_id": strings([f"i{k:03d}" for k in range(count)]),
        "lesion_id": strings([f"L{k}" for k in range(count)]),
        "dx": strings(["mel" if k % 3 == 0 else "nv" for k in range(count)]),
        "age": np.full(count, np.nan), "origin": strings(["real"] * count),
    })  # fmt: skip
    pairs = [(f"i{k:03d}", f"i{k + 3:03d}") for first in (0, 1) for k in range(first, 54, 6)]
    found, _ = assign(table, SplitConfig(merge_duplicates=merge), 0, pairs)
    parts = dict(zip(table.image_id.tolist(), found.part_N.tolist(), strict=True))
    images, parted = folders(tmp_path, parts, pairs)
    assert protocol(LoopConfig(mine_from="crossfit"), images, parted) == said


@pytest.mark.parametrize(
    ("parts", "loop", "said"),
    [
        ({"e": UNLABELLED}, LoopConfig(), "safe"),
        ({"e": "train"}, LoopConfig(), "groups_unknown"),
        ({"e": UNLABELLED}, LoopConfig(generator_saw="unlabelled"), "groups_unknown"),
        ({"e": UNLABELLED}, LoopConfig(arms=["real", "hard", "queried"]), "groups_unknown"),
        ({"e": ""}, LoopConfig(generator_saw="unlabelled"), "safe"),
    ],
    ids=["lies apart", "a reader's answer made it train", "the generator learns from it", "an arm asks", "in no part"],
)  # fmt: skip
def test_only_images_in_use_need_a_group(
    tmp_path: Path, parts: dict[str, str], loop: LoopConfig, said: str
) -> None:
    """All images but ``e``, of a plain folder, have a lesion id of the data."""
    images, parted = folders(
        tmp_path, {name: part for name, part in (PARTS | parts).items() if part}, [], grouped_by="image"
    )
    lesion = [f"lesion-{name}" for name in "abcd"] + ["e"]
    lesions.write(make_table("here", list(PARTS), ["mel"] * 5, lesion_id=lesion), images.path)
    assert protocol(loop, images, parted) == said
