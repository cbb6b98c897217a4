"""The fingerprint follows the data: names and contents of the files, not where they lie or since when."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import engine.data.fingerprint as module
from engine.config import DataConfig
from engine.data.fingerprint import fingerprint
from engine.errors import DataError


def folder(root: Path) -> Path:
    (root / "images").mkdir(parents=True)
    (root / "images" / "a.jpg").write_bytes(b"abc")
    (root / "table.csv").write_text("image,label\n")
    return root


def of(root: Path, form: str = "folder") -> str:
    columns = {"image": "image", "label": "label"}
    return fingerprint(DataConfig.model_validate({"format": form, "root": str(root), "columns": columns}))


def test_a_copy_is_the_same_data(tmp_path: Path) -> None:
    first = folder(tmp_path / "first")
    shutil.copytree(first, tmp_path / "second")
    os.utime(tmp_path / "second" / "images" / "a.jpg", (1, 1))
    assert of(first) == of(tmp_path / "second")


@pytest.mark.parametrize("change", ["content", "same size", "name"])
def test_a_changed_file_is_other_data(tmp_path: Path, change: str) -> None:
    root = folder(tmp_path / "data")
    before, image = of(root), root / "images" / "a.jpg"
    if change == "content":
        image.write_bytes(b"abcd")
    elif change == "same size":
        image.write_bytes(b"xyz")
    else:
        image.rename(root / "images" / "b.jpg")
    assert of(root) != before


def test_images_beside_a_table_belong_to_it(tmp_path: Path) -> None:
    root = folder(tmp_path / "data")
    before = of(root / "table.csv", "table")
    (root / "images" / "a.jpg").write_bytes(b"xyz")
    assert of(root / "table.csv", "table") != before


def test_linked_folders_count(tmp_path: Path) -> None:
    elsewhere = folder(tmp_path / "elsewhere")
    root = tmp_path / "data"
    root.mkdir()
    (root / "linked").symlink_to(elsewhere / "images")
    before = of(root)
    (elsewhere / "images" / "a.jpg").write_bytes(b"xyz")
    assert of(root) != before


def test_unchanged_data_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, notes, read = folder(tmp_path / "data"), tmp_path / "output" / "stages", []
    config = DataConfig.model_validate({"format": "folder", "root": str(root)})
    content = module._content
    monkeypatch.setattr(module, "_content", lambda path: (read.append(path.name), content(path))[1])
    first = fingerprint(config, notes)
    assert first == fingerprint(config), "with notes or without"
    read.clear()
    assert fingerprint(config, notes) == first
    assert read == []
    (root / "images" / "a.jpg").write_bytes(b"abcd")
    changed = fingerprint(config, notes)
    assert changed != first
    assert sorted(read) == ["a.jpg", "table.csv"]
    (root / "images" / "a.jpg").write_bytes(b"abc")
    assert fingerprint(config, notes) == first, "the old contents at another time"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    root = folder(tmp_path / "data")
    (root / "images" / "b.jpg").symlink_to(tmp_path / "gone.jpg")
    with pytest.raises(DataError, match=r"data\.root: .*b\.jpg cannot be read \(No such file"):
        of(root)


def test_pipes_and_locked_files_are_left_to_the_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder(tmp_path / "data")
    os.mkfifo(root / "pipe")
    before = of(root)

    def locked(path: Path, *_: object) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", locked)
    assert of(root) != before


def test_a_phantom_has_none_and_a_missing_root_is_named(tmp_path: Path) -> None:
    assert fingerprint(DataConfig()) == ""
    with pytest.raises(DataError, match=r"data\.root: .*nowhere does not exist"):
        of(tmp_path / "nowhere")
