"""Columns that give the diagnosis away are told from harmless ones and from identifiers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.data.audit.columns import FOLDS, ColumnFinding, column_findings, explained_share, metadata_columns
from engine.data.table import make_table
from engine.types import LesionTable, strings
from tests.engine.data import layouts

CLASSES = ("bkl", "mel", "nv")


def patients(count: int = 300) -> LesionTable:
    rng = np.random.default_rng(0)
    dx = rng.choice(CLASSES, count, p=[0.2, 0.2, 0.6])
    return make_table("here", [f"ISIC_{i:05d}" for i in rng.permutation(count)], list(dx))


def findings(table: LesionTable, **columns: list[str]) -> dict[str, ColumnFinding]:
    rows = table.replace(lesion_id=table.image_id)
    found = column_findings({name: strings(values) for name, values in columns.items()}, rows)
    return {finding.column: finding for finding in found}


def test_how_a_lesion_was_confirmed_leaks_and_a_coin_does_not() -> None:
    table = patients()
    rng = np.random.default_rng(1)
    confirmed = ["follow_up" if dx == "nv" and rng.random() < 0.7 else "histo" for dx in table.dx]
    coin = [str(v) for v in rng.choice(["left", "right"], len(table))]
    found = findings(table, dx_type=confirmed, coin=coin)
    assert found["dx_type"].verdict == "leaks" and found["dx_type"].explained > 0.2
    assert found["dx_type"].p_value == 0.01 and not found["dx_type"].read
    assert found["coin"].verdict == "fine" and abs(found["coin"].explained) < 0.05
    assert list(found) == ["dx_type", "coin"], "the most telling first"


def test_a_copy_of_the_label_explains_nearly_all() -> None:
    table = patients()
    found = findings(table, label=[dx.upper() for dx in table.dx])["label"]
    assert found.explained > 0.9 and found.balanced_accuracy == 1.0 and found.chance == pytest.approx(0.3333)


def test_identifiers_are_named_as_such_and_only_their_number_is_measured() -> None:
    table = patients()
    order = np.argsort(np.argsort(table.dx, kind="stable"))
    found = findings(table, image_id=list(table.image_id), sorted_id=[f"A{i:04d}" for i in order])
    assert found["image_id"].verdict == found["sorted_id"].verdict == "identifier"
    assert found["image_id"].explained is None
    assert found["number in image_id"].verdict == "fine"
    assert found["number in sorted_id"].verdict == "leaks", "ids given class by class"


def test_numbers_are_binned_and_unknown_is_a_value() -> None:
    table = patients()
    rng = np.random.default_rng(2)
    age = [f"{70 + rng.normal():.2f}" if dx == "mel" else f"{30 + rng.normal():.2f}" for dx in table.dx]
    missing = ["" if dx == "nv" else "3" for dx in table.dx]
    found = findings(table, age=age, missing=missing, same=["1"] * len(table))
    assert found["age"].verdict == "leaks" and found["age"].read
    assert found["missing"].verdict == "leaks" and found["missing"].known < len(table)
    assert found["same"].verdict == "constant"


def test_one_row_a_lesion_decides() -> None:
    table = patients(30)
    several = table.take(np.repeat(np.arange(30), 20))
    names = [f"{name}_{k}" for k, name in enumerate(several.image_id)]
    lesions = several.replace(lesion_id=several.image_id, image_id=strings(names))
    found = column_findings({"lesion_number": strings([n[-5:] for n in lesions.lesion_id])}, lesions)
    assert found[0].verdict == "fine", "20 photographs of a lesion are no evidence"


def test_explained_share_by_hand() -> None:
    label = np.array([0, 1] * 50)
    fold = np.repeat(np.arange(FOLDS), 20)
    perfect, accuracy = explained_share(label, label, fold)
    # 40 rows of a value in the other folds, one more spread by the prior: 40.5 / 41
    assert perfect == pytest.approx(1 - np.log(41 / 40.5) / np.log(2), abs=1e-6)
    assert accuracy == 1.0
    nothing, half = explained_share(np.zeros(100, np.int64), label, fold)
    assert nothing == pytest.approx(0.0, abs=1e-9) and half == 0.5


def test_raw_columns_of_ham10000_without_its_label(tmp_path: Path) -> None:
    frame = layouts.write_ham(tmp_path)
    table = make_table("here", list(frame["image_id"])[::-1], list(frame["dx"])[::-1])
    found = metadata_columns(str(tmp_path), table, "dx")
    assert list(found) == ["lesion_id", "image_id", "dx_type", "age", "sex", "localization"]
    assert found["lesion_id"].tolist() == list(frame["lesion_id"])[::-1]
    assert found["age"][-1] == "" and found["dx_type"][0] == "histo"


def test_a_table_with_paths_and_without_tables(tmp_path: Path) -> None:
    frame = layouts.write_table(tmp_path, 8, device=["a", "b"] * 4)
    table = make_table(
        "here",
        [Path(name).stem for name in frame["file"]],
        list(frame["label"]),
        path=[str(tmp_path / name) for name in frame["file"]],
        sex=["male"] * 8,
    )
    found = metadata_columns(str(tmp_path / "list.csv"), table, "label")
    assert list(found) == ["file", "device", "(image size in pixels)"]
    assert found["(image size in pixels)"].tolist() == ["40x30"] * 8
    bare = metadata_columns(None, table.replace(path=strings([""] * 8)), None)
    assert list(bare) == ["age", "sex", "localization"]


def test_the_truth_of_isic_is_no_leak(tmp_path: Path) -> None:
    layouts.write_isic(tmp_path, ["MEL", "NV"] * 4)
    names = [f"ISIC_{i:07d}" for i in range(8)]
    assert list(metadata_columns(str(tmp_path), make_table("here", names, ["mel", "nv"] * 4), None)) == [
        "age", "sex", "localization",
    ]  # fmt: skip
