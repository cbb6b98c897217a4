"""Images without a diagnosis: read from every source, dealt to no other part, on their patient's side; hidden labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import DataConfig, SplitConfig, TrainSetsConfig
from engine.config.data_sections import ColumnsConfig
from engine.data.fingerprint import fingerprint
from engine.data.hidden import hidden_rows
from engine.data.readers.table import read
from engine.data.splits import split_table
from engine.data.table import make_table
from engine.data.train_sets import draw_train_sets
from engine.errors import DataError
from engine.types import UNLABELLED, LesionTable, strings
from tests.engine.data import layouts


def write(root: Path, labels: list[str]) -> DataConfig:
    """Write a table of images with these labels."""
    layouts.write_table(root, len(labels), label=labels)
    columns = ColumnsConfig(image="file", label="label")
    return DataConfig(format="table", root=str(root), columns=columns, unlabelled="keep")


def test_empty_unknown_and_null_are_unlabelled(tmp_path: Path) -> None:
    config = write(tmp_path, ["mel", "nv", "", "Unknown", "vasc", "mel", "nv", "?"])
    config = config.model_copy(update={"map_labels": {"vasc": None}})
    source = read(config, 0)
    assert source.table.dx.tolist() == ["mel", "nv", "", "", "", "mel", "nv", ""]
    assert source.table.classes == ("mel", "nv")
    refused = config.model_copy(update={"unlabelled": "refuse"})
    with pytest.raises(DataError, match=r"has no diagnosis .*or data\.unlabelled=keep"):
        read(refused, 0)
    mapped = refused.model_copy(update={"map_labels": {"vasc": None, "unknown": None}})
    assert len(read(mapped, 0).table) == 5, "null drops where nothing is kept"


def test_a_folder_beside_the_data(tmp_path: Path) -> None:
    config = write(tmp_path / "own", ["mel", "nv"] * 3)
    further = tmp_path / "further"
    for number, name in enumerate(("a.png", "deep/b.png", "deep/b_segmentation.png")):
        layouts.save(further / name, layouts.picture(number))
    first = config.model_copy(update={"unlabelled_images": str(further)})
    source = read(first, 0)
    assert source.table.image_id[~source.table.labelled_N].tolist() == ["a", "b"]
    assert [Path(p).name for p in source.table.mask_path[source.table.image_id == "b"]] == [
        "b_segmentation.png"
    ]
    before = fingerprint(first)
    layouts.save(further / "c.png", layouts.picture(9))
    assert fingerprint(first) != before, "the cache follows the folder's content"
    taken = str(source.table.image_id[source.table.labelled_N][0])
    layouts.save(further / f"{taken}.png", layouts.picture(10))
    names = read(first, 0).table.image_id.tolist()
    assert {"further__a", "further__b", "further__c", f"further__{taken}"} < set(names)
    same = config.model_copy(update={"unlabelled_images": str(tmp_path)})
    assert np.sum(~read(same, 0).table.labelled_N) == 4, "images that the table names are not read again"


@pytest.mark.parametrize(
    ("place", "message"),
    [("absent", "is no folder"), ("own", "holds no image that the data set does not have")],
)
def test_a_folder_that_cannot_be(tmp_path: Path, place: str, message: str) -> None:
    config = write(tmp_path / "own", ["mel", "nv"] * 3)
    config = config.model_copy(update={"unlabelled_images": str(tmp_path / place)})
    with pytest.raises(DataError, match=f"data.unlabelled_images: .*{message}"):
        read(config, 0)


def table_of(rows: list[tuple[str, int, int]]) -> LesionTable:
    """Return a table of (class or "", lesion, patient)."""
    return make_table(
        "drawn", [f"i{n:03d}" for n in range(len(rows))], ["x"] * len(rows),
        lesion_id=[f"l{lesion}" for _, lesion, _ in rows],
        patient_id=[f"p{patient}" for _, _, patient in rows],
    ).replace(dx=strings([dx for dx, _, _ in rows]))  # fmt: skip


@st.composite
def tables(draw: st.DrawFn) -> LesionTable:
    """Draw images of many patients, of which some or all photographs have no diagnosis."""
    rows = []
    for patient in range(draw(st.integers(24, 40))):
        for lesion in range(draw(st.integers(1, 2))):
            dx = ("mel", "nv", "bkl")[patient % 3]
            views = draw(st.lists(st.booleans(), min_size=1, max_size=3))
            rows += [(dx if known else "", 10 * patient + lesion, patient) for known in views]
    return table_of(rows + [(dx, 1000 + n, 1000 + n) for n in range(8) for dx in ("mel", "nv", "bkl")])


@settings(max_examples=25, deadline=None)
@given(tables(), st.integers(0, 99))
def test_unlabelled_images_stand_apart_and_beside_no_held_out_one(table: LesionTable, seed: int) -> None:
    split = split_table(table, SplitConfig(), seed)
    without = table.take(table.labelled_N)
    alone = split_table(without, SplitConfig(), seed)
    if without.image_id.tolist() == table.image_id.tolist():
        assert split.part_N.tolist() == alone.part_N.tolist()
    for image in range(len(table)):
        own = split.part_N[split.group_N == split.group_N[image]]
        part = str(split.part_N[image])
        if table.dx[image]:
            assert part in ("train", "mine", "val", "test")
        else:
            held_out = bool(np.isin(own, ("mine", "val", "test")).any())
            assert part == ("" if held_out else UNLABELLED)
    assert split.left_out == np.sum(split.part_N == "")


@settings(max_examples=25, deadline=None)
@given(tables(), st.integers(0, 99), st.sampled_from([0.1, 0.5, 0.9, 1.0]), st.booleans())
def test_labels_are_hidden_in_whole_train_groups(
    table: LesionTable, seed: int, share: float, sets: bool
) -> None:
    split = split_table(table, SplitConfig(train=0.8, mine=0.0, val=0.1, test=0.1), seed)
    train_N, group_N, set_N = split.part_N == "train", split.group_N, None
    if sets:
        size = int(train_N.sum()) // 4
        config = TrainSetsConfig(count=2, images=size, use=[1])
        try:
            set_N = draw_train_sets(table, strings(np.where(train_N, group_N, "").tolist()), config, seed)
        except DataError:  # sets of that size cannot be made of these groups
            return
    hidden_N = hidden_rows(table, split.part_N, group_N, share, seed, set_N=set_N, kept_sets=[1])
    assert not (hidden_N & ~train_N).any()
    for group in set(group_N[train_N].tolist()):
        assert len(set(hidden_N[train_N & (group_N == group)].tolist())) == 1, (
            "a group is hidden whole or not at all"
        )
    kept = table.dx[train_N & ~hidden_N]
    assert set(kept.tolist()) == {"mel", "nv", "bkl"}, "every class can still be learned"
    if set_N is not None:
        assert not (hidden_N & (set_N == 1)).any()
        if share == 1.0:
            assert hidden_N[train_N & ~np.isin(group_N, group_N[set_N == 1])].all()
    else:
        groups, gone = len(set(group_N[train_N].tolist())), len(set(group_N[hidden_N].tolist()))
        assert abs(gone - share * groups) <= 3 * 1.5, "the share of every class, rounded"
    order = np.random.default_rng(seed).permutation(len(table))
    again = hidden_rows(table.take(order), split.part_N[order], group_N[order], share, seed,
                        set_N=None if set_N is None else set_N[order], kept_sets=[1])  # fmt: skip
    assert again.tolist() == hidden_N[order].tolist(), "the order of rows does not matter"
