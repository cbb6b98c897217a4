"""Which files the tables of an export call synthetic: found beside the images and above them, or nothing."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from engine.data.readers.exported import TABLE, synthetic_files
from engine.errors import DataError


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Two images in train/mel of an export, the second of them synthetic."""
    found = [tmp_path / "train" / "mel" / name for name in ("a.png", "b.png")]
    found[0].parent.mkdir(parents=True)
    rows = {
        "file_name": ["mel/a.png", "mel/b.png"],
        "origin": ["real", "synthetic"],
        "synthetic": [False, True],
    }
    pd.DataFrame(rows).to_parquet(tmp_path / "train" / TABLE)
    return found


@pytest.mark.parametrize("folder", [".", "train", "train/mel"])
def test_a_table_is_found_from_any_folder_of_the_export(
    images: list[Path], tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert synthetic_files(tmp_path / folder, images) == {images[1]}
    monkeypatch.chdir(tmp_path)
    assert synthetic_files(Path(folder), [path.relative_to(tmp_path) for path in images]) == {images[1]}


def test_another_programs_table_says_nothing_and_a_damaged_one_is_named(
    images: list[Path], tmp_path: Path
) -> None:
    table = tmp_path / "train" / TABLE
    pd.DataFrame({"file_name": ["mel/b.png"], "origin": ["synthetic"]}).to_parquet(table)
    assert synthetic_files(tmp_path, images) == set()
    table.write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"metadata\.parquet: cannot be read .*remove it or export again"):
        synthetic_files(tmp_path, images)
