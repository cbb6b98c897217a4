"""No group in two parts, fractions honoured class by class, whatever the order of rows."""

from __future__ import annotations

import shlex
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import FoldsConfig, SplitConfig
from engine.config.loading import apply_override, parse_config
from engine.data.assignment import assign
from engine.data.splits import group_rows, portion_counts, split_table
from engine.data.table import make_table
from engine.errors import DataError
from engine.types import LesionTable

FRACTIONS = SplitConfig()


def table_of(counts: dict[str, int], views: int = 1, **columns: list[str]) -> LesionTable:
    rows = [
        (f"{dx}{i:03d}", dx, f"{dx}{i:03d}v{v}")
        for dx, n in counts.items()
        for i in range(n)
        for v in range(views)
    ]
    lesion, dx, image = zip(*rows, strict=True)
    return make_table("here", image, dx, lesion_id=lesion, **columns)


@pytest.mark.parametrize(
    ("count", "shares", "expected"),
    [
        (20, [0.6, 0.15, 0.1, 0.15], [12, 3, 2, 3]),
        (4, [0.6, 0.15, 0.1, 0.15], [1, 1, 1, 1]),
        (7, [0.6, 0.15, 0.1, 0.15], [4, 1, 1, 1]),
        (10, [0.5, 0.0, 0.1, 0.1], [5, 0, 1, 1]),
        (3, [0.5, 0.0, 0.1, 0.1], [1, 0, 1, 1]),
        (100, [1 / 3, 1 / 3, 1 / 3], [34, 33, 33]),
    ],
)
def test_portion_counts(count: int, shares: list[float], expected: list[int]) -> None:
    assert portion_counts(count, shares) == expected


@given(st.integers(4, 300), st.lists(st.floats(0.01, 1), min_size=4, max_size=4), st.floats(0.3, 1))
@settings(max_examples=100, deadline=None)
def test_portion_counts_stay_near_their_quota(count: int, raw: list[float], used: float) -> None:
    shares = [used * value / sum(raw) for value in raw]
    counts = portion_counts(count, shares)
    assert sum(counts) <= count
    assert min(counts) >= 1
    assert all(got <= max(1, share * count + 1) for got, share in zip(counts, shares, strict=True))


ROWS = st.lists(st.tuples(st.sampled_from(["mel", "nv"]), st.integers(0, 39)), min_size=80, max_size=120)


@given(
    ROWS,
    st.integers(0, 2**31),
    st.booleans(),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 59), st.integers(0, 59)), max_size=4),
)
@settings(max_examples=60, deadline=None)
def test_no_lesion_patient_or_duplicate_in_two_parts(rows, seed, patients, official, pairs) -> None:
    names = [f"i{k:04d}" for k in range(len(rows))]
    table = make_table(
        "here",
        names,
        [dx for dx, _ in rows],
        lesion_id=[f"L{lesion}" for _, lesion in rows],
        patient_id=[f"P{lesion // 2}" for _, lesion in rows] if patients else [""] * len(rows),
        split=[("train", "val", "test")[lesion % 3] for _, lesion in rows] if official else [""] * len(rows),
    )
    duplicates = [(names[a], names[b]) for a, b in pairs]
    try:
        split = split_table(table, SplitConfig(official=official), seed, duplicates)
    except DataError as error:
        assert "data.split: class" in str(error)
        return
    used = split.part_N != ""
    keys = [table.lesion_id] + ([table.patient_id] if patients else [])
    for key in keys:
        for value in set(key[used]):
            assert len(set(split.part_N[used & (key == value)])) == 1
    part = dict(zip(table.image_id, split.part_N, strict=True))
    assert all(len({part[a], part[b]} - {""}) <= 1 for a, b in duplicates)
    order = np.random.default_rng(seed).permutation(len(names))
    again = split_table(table.take(order), SplitConfig(official=official), seed, duplicates)
    assert np.array_equal(again.part_N, split.part_N[order])


def test_stratified_and_seeded() -> None:
    table = table_of({"df": 4, "mel": 20, "nv": 200}, views=2)
    split = split_table(table, FRACTIONS, 0)
    counts = {dx: Counter(split.part_N[table.dx == dx].tolist()) for dx in table.classes}
    assert counts["nv"] == {"train": 240, "mine": 60, "val": 40, "test": 60}
    assert counts["mel"] == {"train": 24, "mine": 6, "val": 4, "test": 6}
    assert set(counts["df"].values()) == {2}
    assert np.array_equal(split_table(table, FRACTIONS, 0).part_N, split.part_N)
    assert not np.array_equal(split_table(table, FRACTIONS, 1).part_N, split.part_N)


@given(st.integers(0, 2**31), st.integers(2, 6), st.sampled_from([0.0, 0.2]))
@settings(max_examples=30, deadline=None)
def test_test_folds_are_disjoint_and_cover_all_lesions(seed: int, count: int, mine: float) -> None:
    table = table_of({"df": 10, "mel": 30, "nv": 90}, views=2)
    seen: list[str] = []
    for fold in range(count):
        config = SplitConfig(mine=mine, val=0.1, folds=FoldsConfig(count=count, use=fold))
        part_N = split_table(table, config, seed).part_N
        parts = {part: set(table.lesion_id[part_N == part]) for part in ("train", "mine", "val", "test")}
        assert sum(len(lesions) for lesions in parts.values()) == 130, "no lesion in two parts, none unused"
        assert bool(parts["mine"]) == (mine > 0)
        for part in ("train", "val", "test"):
            assert set(table.dx[part_N == part]) == {"df", "mel", "nv"}
        seen += parts["test"]
    assert sorted(seen) == sorted(set(table.lesion_id))


def test_val_is_a_share_of_what_a_fold_leaves() -> None:
    table = table_of({"nv": 100})
    config = SplitConfig(mine=0.0, val=0.25, folds=FoldsConfig(count=5, use=4))
    assert Counter(split_table(table, config, 0).part_N.tolist()) == {"train": 60, "val": 20, "test": 20}


@pytest.mark.parametrize(
    ("dx", "typed"), [("df", "df"), ("0", "0"), ("yes", '"yes"'), ("1.0", '"1.0"'), ("a: b", '"a: b"')]
)
@pytest.mark.parametrize(
    "config", [SplitConfig(), SplitConfig(mine=0.0, folds=FoldsConfig())], ids=["parts", "folds"]
)
def test_the_advice_to_drop_a_class_can_be_typed(config: SplitConfig, dx: str, typed: str) -> None:
    with pytest.raises(DataError) as caught:
        assign(table_of({dx: 2, "nv": 40, "mel": 40}), config, 0)
    advice = f"data.map_labels={{{typed}: null}}"
    assert advice in shlex.split(str(caught.value).replace(",", " "))
    tree: dict[str, object] = {}
    apply_override(tree, advice)
    assert parse_config(tree).data.map_labels == {dx: None}


def test_a_class_too_rare_for_the_folds_is_named() -> None:
    table = table_of({"df": 4, "nv": 40})
    with pytest.raises(
        DataError, match=r"data.split.folds: class df has 4 group\(s\).*but 5 folds need one each"
    ):
        split_table(table, SplitConfig(mine=0.0, folds=FoldsConfig()), 0)


def test_what_is_left_over_is_unused() -> None:
    table = table_of({"mel": 20, "nv": 20})
    split = split_table(table, SplitConfig(train=0.3, mine=0.0, val=0.1, test=0.1), 0)
    assert Counter(split.part_N.tolist()) == {"": 20, "train": 12, "val": 4, "test": 4}


def test_class_with_fewer_groups_than_parts_is_named() -> None:
    with pytest.raises(DataError, match=r"class df has 3 group\(s\).*but 4 parts.*train, mine, val, test"):
        split_table(table_of({"df": 3, "nv": 20}), FRACTIONS, 0)
    assert len(split_table(table_of({"df": 3, "nv": 20}), SplitConfig(mine=0.0), 0).part_N) == 23


def test_groups_are_joined_through_patients_and_duplicates() -> None:
    table = make_table(
        "here",
        list("abcde"),
        ["nv"] * 5,
        lesion_id=["1", "1", "2", "3", "4"],
        patient_id=["", "p", "p", "", ""],
    )
    assert group_rows(table).tolist() == ["a", "a", "a", "d", "e"]
    assert group_rows(table, [("e", "c")]).tolist() == ["a", "a", "a", "d", "a"]


def test_merge_duplicates_can_be_turned_off() -> None:
    table = table_of({"mel": 20, "nv": 20})
    pairs = [("mel000v0", "nv001v0"), ("mel002v0", "mel003v0")]
    split = split_table(table, FRACTIONS, 0, pairs)
    part = dict(zip(table.image_id, split.part_N, strict=True))
    assert split.merged_groups == 2
    assert all(part[a] == part[b] for a, b in pairs)
    assert split_table(table, SplitConfig(merge_duplicates=False), 0, pairs).merged_groups == 0


def test_a_group_counts_for_every_class_it_shows() -> None:
    """Six melanomas in six of twelve patients (shared/cases/rare-class-patients): each part gets some."""
    rows = [
        (patient, "mel" if patient % 2 == 0 and view == 0 else "nv")
        for patient in range(12)
        for view in range(4)
    ]
    table = make_table(
        "here",
        [f"i{k:02d}" for k in range(48)],
        [dx for _, dx in rows],
        patient_id=[f"P{patient:02d}" for patient, _ in rows],
    )
    for seed in range(20):
        part_N = split_table(table, FRACTIONS, seed).part_N
        assert Counter(part_N[table.dx == "mel"].tolist()) == {"train": 3, "mine": 1, "val": 1, "test": 1}
        images = Counter(part_N.tolist())
        assert images == {"train": 28, "mine": 8, "val": 4, "test": 8}


def test_synthetic_images_give_a_group_no_class() -> None:
    """A part that drops synthetic images cannot count on one for its only melanoma."""
    table = table_of({"mel": 4, "nv": 20})
    extra = [f"nv{i:03d}" for i in range(10)]
    table = make_table(
        "here",
        [*table.image_id, *(f"{name}s" for name in extra)],
        [*table.dx, *["mel"] * 10],
        lesion_id=[*table.lesion_id, *extra],
        origin=["real"] * 24 + ["synthetic"] * 10,
    )
    split = split_table(table, FRACTIONS, 0)
    assert sorted(split.part_N[:4]) == ["mine", "test", "train", "val"]
    assert set(split.part_N[24:]) <= {"train", ""}


def official_table() -> LesionTable:
    table = table_of({"mel": 20, "nv": 20})
    parts = [("train", "train", "train", "val", "test")[i % 5] for i in range(len(table))]
    return table.replace(split=np.array(parts))


def test_official_parts_are_kept_and_mine_is_carved_out_of_train() -> None:
    table = official_table()
    split = split_table(table, SplitConfig(official=True), 0)
    for part in ("val", "test"):
        assert np.array_equal(split.part_N == part, table.split == part)
    assert Counter(split.part_N.tolist()) == {"train": 20, "mine": 4, "val": 8, "test": 8}
    whole = split_table(table, SplitConfig(official=True, mine=0.0), 0)
    assert np.array_equal(whole.part_N, table.split)


def test_missing_official_val_is_carved_too_and_unofficial_is_the_default() -> None:
    table = official_table()
    table = table.replace(split=np.where(table.split == "val", "train", table.split))
    split = split_table(table, SplitConfig(official=True), 0)
    assert np.array_equal(split.part_N == "test", table.split == "test")
    assert set(split.part_N) == {"train", "mine", "val", "test"}
    assert not np.array_equal(split_table(table, FRACTIONS, 0).part_N == "test", table.split == "test")


def test_lesion_across_official_parts_stays_in_the_most_guarded() -> None:
    table = official_table()
    lesion = table.lesion_id.copy()
    lesion[0] = lesion[4]
    assert (table.split[0], table.split[4]) == ("train", "test")
    split = split_table(table.replace(lesion_id=lesion), SplitConfig(official=True), 0)
    assert (split.part_N[0], split.part_N[4]) == ("", "test")
    assert split.left_out == 1


def test_synthetic_rows_reach_train_only() -> None:
    table = table_of({"mel": 20, "nv": 20}, views=2)
    origin = np.array(["real", "synthetic"] * 40)
    split = split_table(table.replace(origin=origin), FRACTIONS, 0)
    assert set(split.part_N[origin == "synthetic"]) == {"train", ""}
    assert split.left_out == np.sum(split.part_N == "")
