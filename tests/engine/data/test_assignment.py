"""Patients of several classes: each part, fold and set gets every class, and what an error advises works."""

from __future__ import annotations

import itertools
import re
import shlex
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import FoldsConfig, SplitConfig, TrainSetsConfig
from engine.config.loading import apply_override, parse_config
from engine.data.assignment import Labels, assign
from engine.data.splits import group_rows, split_table
from engine.data.table import make_table
from engine.data.train_sets import draw_train_sets
from engine.errors import DataError, TooFewGroupsError
from engine.training.folds import lesion_folds
from engine.types import LesionTable, StrArray, strings

CLASSES = ("bkl", "df", "mel", "nv")
PATIENT = st.lists(st.integers(0, 2), min_size=4, max_size=4).filter(any)
"""Images of each class."""
PATIENTS, MANY_PATIENTS = (st.lists(PATIENT, min_size=n, max_size=m) for n, m in ((8, 40), (60, 100)))
SEEDS = st.integers(0, 2**31)
EXAMPLES = 30


def table_of(patients: list[list[int]], **columns: list[str]) -> LesionTable:
    """Return a table of these patients; their images' ids say whose they are."""
    rows = [
        (f"i{number:03d}{dx}{view}", dx, f"P{number:03d}")
        for number, counts in enumerate(patients)
        for dx, count in zip(CLASSES, counts, strict=True)
        for view in range(count)
    ]
    image, dx, patient = zip(*rows, strict=True)
    return make_table("here", image, dx, patient_id=patient, **columns)


def groups_of(table: LesionTable) -> dict[str, set[str]]:
    """Return the patients of each class."""
    return {dx: set(table.patient_id[table.dx == dx].tolist()) for dx in table.classes}


def places(table: LesionTable, place_N: Any) -> dict[str, set[Any]]:
    """Return where each class is found, after checking that no patient is in two places."""
    for patient in set(table.patient_id.tolist()):
        assert len(set(place_N[table.patient_id == patient].tolist())) == 1
    return {dx: set(place_N[table.dx == dx].tolist()) for dx in table.classes}


@given(
    PATIENTS, SEEDS, st.sampled_from([SplitConfig(), SplitConfig(mine=0.0), SplitConfig(train=0.3, mine=0.1)])
)
@settings(max_examples=EXAMPLES, deadline=None)
def test_every_part_gets_every_class(patients: list[list[int]], seed: int, config: SplitConfig) -> None:
    table = table_of(patients)
    parts = [part for part in ("train", "mine", "val", "test") if getattr(config, part) > 0]
    rare = {dx: len(found) for dx, found in groups_of(table).items() if len(found) < len(parts)}
    try:
        part_N = split_table(table, config, seed).part_N
    except TooFewGroupsError as error:
        if rare:
            assert error.too_few == rare
        else:
            assert not possible(table, len(parts))
        return
    assert not rare
    assert all(found >= set(parts) for found in places(table, part_N).values())
    order = np.random.default_rng(seed).permutation(len(table))
    assert np.array_equal(split_table(table.take(order), config, seed).part_N, part_N[order])


def possible(table: LesionTable, parts: int) -> bool:
    """Return whether some assignment gives every part every class, by looking at all."""
    by_patient = {p: set(table.dx[table.patient_id == p].tolist()) for p in set(table.patient_id.tolist())}
    rare = [shown for shown in by_patient.values() if len(shown) > 1]
    if len(rare) > 9:
        return True
    alone = Counter(dx for shown in by_patient.values() if len(shown) == 1 for dx in shown)
    for chosen in itertools.product(range(parts), repeat=len(rare)):
        there = {(dx, part) for part, shown in zip(chosen, rare, strict=True) for dx in shown}
        if all(sum((dx, part) not in there for part in range(parts)) <= alone[dx] for dx in table.classes):
            return True
    return False


def test_what_no_assignment_can_give_is_refused() -> None:
    """Three patients, three classes, each class in two of them: some part of two lacks one."""
    table = table_of([[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 1, 0]])
    assert not possible(table, 2)
    config = TrainSetsConfig(count=2, images=3)
    with pytest.raises(TooFewGroupsError, match=r"other rare classes too, so that no draw.*: (bkl|df|mel) 2"):
        draw_train_sets(table, table.patient_id, config, 0)


@given(MANY_PATIENTS, SEEDS)
@settings(max_examples=15, deadline=None)
def test_shares_are_kept_class_by_class(patients: list[list[int]], seed: int) -> None:
    """Of each class a part holds its share of the patients, within four; of the images, within ten and a tenth of them."""
    table, config = table_of(patients), SplitConfig()
    part_N = split_table(table, config, seed).part_N
    for dx, found in groups_of(table).items():
        for part in ("train", "mine", "val", "test"):
            there = set(table.patient_id[(part_N == part) & (table.dx == dx)].tolist())
            assert abs(len(there) - getattr(config, part) * len(found)) <= 4
            images, found_images = np.sum(table.dx == dx), np.sum(part_N[table.dx == dx] == part)
            assert abs(found_images - getattr(config, part) * images) <= 10 + 0.1 * images


@given(PATIENTS, SEEDS, st.integers(2, 5))
@settings(max_examples=EXAMPLES, deadline=None)
def test_every_fold_gets_every_class(patients: list[list[int]], seed: int, folds: int) -> None:
    table = table_of(patients)
    fold_N = lesion_folds(table.patient_id, table.dx, folds, seed)
    for dx, found in places(table, fold_N).items():
        groups = len(groups_of(table)[dx])
        assert len(found) >= min(groups, 2)
        if groups >= folds and len(patients) >= 4 * folds:
            assert len(found) == folds
    sizes = np.bincount([int(fold_N[table.patient_id == p][0]) for p in set(table.patient_id.tolist())])
    assert sizes.max() - sizes.min() <= 3
    order = np.random.default_rng(seed).permutation(len(table))
    shuffled = lesion_folds(table.patient_id[order], table.dx[order], folds, seed)
    assert np.array_equal(shuffled, fold_N[order])


@given(MANY_PATIENTS, SEEDS, st.integers(2, 4), st.booleans())
@settings(max_examples=EXAMPLES, deadline=None)
def test_every_set_gets_every_class(
    patients: list[list[int]], seed: int, count: int, per_class: bool
) -> None:
    table = table_of(patients)
    images = len(table) // (8 * count if per_class else 2 * count)
    config = TrainSetsConfig(count=count, images=images, per_class=per_class)
    group_N = group_rows(table)
    try:
        set_N = draw_train_sets(table, group_N, config, seed)
    except TooFewGroupsError as error:
        rare = {dx: len(found) for dx, found in groups_of(table).items() if len(found) < count}
        assert error.too_few == rare
        return
    assert all(found >= set(range(count)) for found in places(table, set_N).values())
    order = np.random.default_rng(seed).permutation(len(table))
    assert np.array_equal(draw_train_sets(table.take(order), group_N[order], config, seed), set_N[order])


CONFIGS = (
    SplitConfig(),
    SplitConfig(mine=0.0),
    SplitConfig(official=True),
    SplitConfig(mine=0.0, folds=FoldsConfig(count=5, use=4)),
    SplitConfig(mine=0.1, folds=FoldsConfig(count=3, use=1)),
    SplitConfig(train_sets=TrainSetsConfig(count=6, images=8, use=[0, 5])),
)
LABELS = Labels(mapping={"AK": "bkl", "junk": None}, names=("AK", "bkl", "df", "junk", "mel", "nv"))


@given(PATIENTS, SEEDS, st.sampled_from(CONFIGS), st.integers(0, 4))
@settings(max_examples=EXAMPLES, deadline=None)
def test_the_remedies_work(patients: list[list[int]], seed: int, config: SplitConfig, few: int) -> None:
    """Each printed alternative, typed on a command line, lets the assignment through."""
    thinned = [
        [a, b if k < few else 0, c if k < 2 * few else 0, d or 1] for k, (a, b, c, d) in enumerate(patients)
    ]
    parts = [("train", "test")[k % 3 == 0] for k, p in enumerate(thinned) for _ in range(sum(p))]
    table = table_of(thinned, split=parts)
    raw = strings(["AK" if dx == "bkl" and k % 2 else dx for k, dx in enumerate(table.dx.tolist())])
    try:
        assign(table, config, seed, labels=LABELS)
    except DataError as error:
        for overrides in alternatives(str(error)):
            assign(*applied(table, raw, config, overrides), seed)


def alternatives(message: str) -> list[list[str]]:
    """Return the overrides of each alternative in an error message."""
    found = re.findall(r"(?:; | or )set (.*?)(?: \(null drops.*?\))?(?=, or (?:set|add) )", message)
    return [shlex.split(text) for text in found]


def applied(
    table: LesionTable, raw_N: StrArray, config: SplitConfig, overrides: list[str]
) -> tuple[LesionTable, SplitConfig]:
    """Return table and section as a run with these overrides reads them."""
    tree: dict[str, Any] = {
        "data": {"split": config.model_dump(mode="json"), "map_labels": dict(LABELS.mapping)}
    }
    if config.mine == 0:
        tree["loop"] = {"mine_from": "crossfit"}
    for override in overrides:
        apply_override(tree, override)
    read = parse_config(tree).data
    assert set(read.map_labels) <= set(LABELS.names)
    names = [read.map_labels.get(label, label) for label in raw_N.tolist()]
    kept = np.array([name is not None for name in names])
    return table.replace(dx=strings(names)).take(kept), read.split


def test_the_remedies_are_named() -> None:
    """Three dermatofibromas: fewer parts, or without the class; the mapping keeps what it says of other labels."""
    table = table_of([[0, 0, 1, 1]] * 12 + [[0, 1, 0, 0]] * 3)
    with pytest.raises(DataError) as caught:
        assign(table, SplitConfig(), 0, labels=LABELS)
    assert str(caught.value) == (
        "data.split: class df has 3 group(s) of images (patients, lesions) but 4 parts need one each (train, mine, val, "
        "test); set data.split.train=0.75 data.split.mine=0 loop.mine_from=crossfit, or set 'data.map_labels={AK: bkl, "
        "junk: null, df: null}' (null drops a class, the name of another class merges it), or add images of df from "
        "further patients or lesions"
    )


def test_a_merged_class_is_dropped_with_all_its_labels() -> None:
    assert LABELS.dropping(["bkl"]) == {"AK": None, "junk": None, "bkl": None}
    assert Labels(mapping={"AK": "akiec"}, names=("AK", "nv")).dropping(["akiec"]) == {"AK": None}


def test_where_one_setting_is_not_enough_several_are_named() -> None:
    """Two patients of a class, three classes' worth of parts: neither fewer folds nor no mine part helps alone."""
    table = table_of([[0, 0, 1, 1]] * 12 + [[0, 1, 0, 0]] * 3)
    config = SplitConfig(mine=0.1, folds=FoldsConfig(count=5))
    with pytest.raises(
        DataError, match=r"mine=0 loop.mine_from=crossfit 'data.split.folds={count: 3, use: 0}'"
    ):
        assign(table, config, 0)
    fewer = config.model_copy(update={"mine": 0.0, "folds": FoldsConfig(count=3)})
    assert set(assign(table, fewer, 0)[0].part_N) == {"train", "val", "test"}


def test_nothing_is_advised_that_leaves_one_class() -> None:
    table = table_of([[0, 0, 0, 1]] * 12 + [[0, 0, 1, 0]])
    with pytest.raises(DataError) as caught:
        assign(table, SplitConfig(), 0, labels=Labels(limit=13))
    assert "set " not in str(caught.value).partition(";")[2]
    assert (
        "add images of mel from further patients or lesions, which data.limit (13) may have left out"
        in str(caught.value)
    )
