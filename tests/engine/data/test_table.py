"""Whole-lesion limits, groups and row order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.config import DataConfig
from engine.data.readers.table import read
from engine.data.table import MIN_LESIONS, Source, check_classes, known_groups, limit_rows, make_table
from engine.errors import DataError
from tests.engine.data import layouts


def table_of(counts: dict[str, int], views: int = 2):
    rows = [
        (f"{dx}{i}", dx, f"{dx}{i}v{v}") for dx, n in counts.items() for i in range(n) for v in range(views)
    ]
    lesion, dx, image = zip(*rows, strict=True)
    return make_table("here", image, dx, lesion_id=lesion)


def test_limit_takes_whole_lesions_in_proportion() -> None:
    table = table_of({"mel": 20, "nv": 80})
    kept = table.take(limit_rows(table, 100, seed=1))
    assert [int(np.sum(kept.dx == dx)) for dx in ("mel", "nv")] == [20, 80]
    assert all(np.sum(kept.lesion_id == name) == 2 for name in set(kept.lesion_id))
    other = table.take(limit_rows(table, 100, seed=2))
    assert set(other.image_id) != set(kept.image_id)
    assert np.array_equal(limit_rows(table, 100, seed=1), limit_rows(table, 100, seed=1))


def test_limit_keeps_enough_lesions_of_a_rare_class_to_split() -> None:
    table = table_of({"df": 6, "nv": 200})
    kept = table.take(limit_rows(table, 20, seed=0))
    assert len(set(kept.lesion_id[kept.dx == "df"])) == MIN_LESIONS


def test_limit_keeps_enough_patients_of_a_rare_class_to_split() -> None:
    """Four lesions of one patient fill one part; the class has nine patients more."""
    table = table_of({"df": 36, "nv": 400}, views=1)
    patient = [
        name if name.startswith("nv") else f"P{max(0, int(name[2:]) - 26)}" for name in table.lesion_id
    ]
    table = table.replace(patient_id=np.array(patient))
    for seed in range(20):
        kept = table.take(limit_rows(table, 44, seed))
        assert len(set(kept.patient_id[kept.dx == "df"])) >= MIN_LESIONS
        assert 44 <= len(kept) <= 44 + MIN_LESIONS


def test_limit_sees_every_class_that_a_lesion_shows() -> None:
    """A class that is never the first image of its lesion counts all the same."""
    table = table_of({"nv": 200})
    table = table.replace(
        dx=np.where(np.isin(table.image_id, [f"nv{i}v1" for i in range(6)]), "mel", table.dx)
    )
    kept = table.take(limit_rows(table, 20, seed=0))
    assert len(set(kept.lesion_id[kept.dx == "mel"])) == MIN_LESIONS


def test_limit_ignores_the_order_of_rows(tmp_path: Path) -> None:
    rows = layouts.ham_rows(20)
    layouts.write_ham(tmp_path, rows=rows)
    config = DataConfig.model_validate({"format": "ham10000", "root": str(tmp_path), "limit": 16})
    first = read(config, 0).table
    rows.sample(frac=1, random_state=1).to_csv(tmp_path / "HAM10000_metadata.csv", index=False)
    assert read(config, 0).table.image_id.tolist() == first.image_id.tolist()
    assert len(first) == 16


def test_strongest_group_every_row_has() -> None:
    table = table_of({"a": 2, "b": 2})
    assert known_groups(table) == "lesion"
    assert known_groups(table.replace(patient_id=table.dx)) == "patient"
    assert known_groups(table.replace(lesion_id=np.where(table.dx == "a", "", table.lesion_id))) == "image"


def test_fewer_than_two_classes() -> None:
    table = table_of({"nv": 2})
    with pytest.raises(DataError, match="here: only class nv is left"):
        check_classes(Source(table=table, where="here", labels=("nv",)))
