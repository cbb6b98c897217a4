"""A result whose arms fill several files is read as it was written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.errors import DataError
from experiments.lib.parted import divide, first_files, read_parted, write_parted


def record(arms: int) -> dict[str, object]:
    return {"fold": 1, "cases": "x" * 50, "arms": {f"arm {k}": "y" * 100 for k in range(arms)}}


@pytest.mark.parametrize(("arms", "files"), [(1, 1), (2, 1), (3, 2), (7, 3)])
def test_arms_go_to_as_many_files_as_they_need(tmp_path: Path, arms: int, files: int) -> None:
    path = tmp_path / "study_1_2.json"
    write_parted(path, record(arms), largest=320)
    assert len(list(tmp_path.iterdir())) == files
    assert first_files(tmp_path, "study_*_*.json") == [path]
    assert read_parted(path) == record(arms)
    assert list(read_parted(path)["arms"]) == list(record(arms)["arms"])  # type: ignore[call-overload]


def test_a_smaller_result_leaves_no_part_of_a_larger_one(tmp_path: Path) -> None:
    path = tmp_path / "study_1_2.json"
    write_parted(path, record(9), largest=320)
    write_parted(path, record(1), largest=320)
    assert [file.name for file in tmp_path.iterdir()] == ["study_1_2.json"]
    assert read_parted(path) == record(1)


def test_a_file_that_is_too_large_is_divided_and_another_is_not(tmp_path: Path) -> None:
    path = tmp_path / "study_1_2.json"
    large = {**record(0), "arms": {f"arm {k}": "y" * 800_000 for k in range(2)}}
    path.write_text(json.dumps(large))
    divide(path)
    assert [file.stat().st_size > 1_000_000 for file in tmp_path.iterdir()] == [False, False]
    assert read_parted(path) == large
    before = path.stat().st_mtime_ns
    divide(path)
    assert path.stat().st_mtime_ns == before


def test_a_part_that_is_absent_is_named(tmp_path: Path) -> None:
    path = tmp_path / "study_1_2.json"
    write_parted(path, record(7), largest=320)
    (tmp_path / "study_1_2.part_2.json").unlink()
    with pytest.raises(DataError, match=r"study_1_2\.part_2\.json"):
        read_parted(path)
