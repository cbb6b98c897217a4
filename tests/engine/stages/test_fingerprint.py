"""The fingerprint follows the data: names, sizes and times of the files, not where they lie."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from engine.config import DataConfig
from engine.errors import DataError
from engine.stages.fingerprint import fingerprint


def folder(root: Path) -> Path:
    (root / "images").mkdir(parents=True)
    (root / "images" / "a.jpg").write_bytes(b"abc")
    (root / "table.csv").write_text("image,label\n")
    return root


def of(root: Path, form: str = "folder") -> str:
    columns = {"image": "image", "label": "label"}
    return fingerprint(DataConfig.model_validate({"format": form, "root": str(root), "columns": columns}))


def test_a_copy_with_its_times_is_the_same_data(tmp_path: Path) -> None:
    first = folder(tmp_path / "first")
    shutil.copytree(first, tmp_path / "second")
    assert of(first) == of(tmp_path / "second")


@pytest.mark.parametrize("change", ["content", "time", "name"])
def test_a_changed_file_is_other_data(tmp_path: Path, change: str) -> None:
    root = folder(tmp_path / "data")
    before, image = of(root), root / "images" / "a.jpg"
    if change == "content":
        image.write_bytes(b"abcd")
    elif change == "time":
        os.utime(image, (1, 1))
    else:
        image.rename(root / "images" / "b.jpg")
    assert of(root) != before


def test_images_beside_a_table_belong_to_it(tmp_path: Path) -> None:
    root = folder(tmp_path / "data")
    before = of(root / "table.csv", "table")
    os.utime(root / "images" / "a.jpg", (1, 1))
    assert of(root / "table.csv", "table") != before


def test_linked_folders_count(tmp_path: Path) -> None:
    elsewhere = folder(tmp_path / "elsewhere")
    root = tmp_path / "data"
    root.mkdir()
    (root / "linked").symlink_to(elsewhere / "images")
    before = of(root)
    os.utime(elsewhere / "images" / "a.jpg", (1, 1))
    assert of(root) != before


def test_a_phantom_has_none_and_a_missing_root_is_named(tmp_path: Path) -> None:
    assert fingerprint(DataConfig()) == ""
    with pytest.raises(DataError, match=r"data\.root: .*nowhere does not exist"):
        of(tmp_path / "nowhere")
