"""Layouts that `init` must not guess: parent folders, folders that are no classes, tables it cannot read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.commands.layout import recognise
from engine.errors import DataError
from tests.engine.data import layouts


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def _image(path: Path) -> None:
    layouts.save(path, layouts.picture(0))


def _nothing(root: Path) -> None:
    (root / "notes.txt").write_text("hello")


def _flat(root: Path) -> None:
    _image(root / "one.png")


def _two_archives(root: Path) -> None:
    for name in ("a", "b"):
        np.savez(root / f"{name}.npz", x=np.zeros(1))


def _two_tables(root: Path) -> None:
    _image(root / "x.jpg")
    for name in ("a", "b"):
        (root / f"{name}.csv").write_text("image,dx\nx.jpg,mel\n")


def _table_and_notes(root: Path) -> None:
    layouts.write_table(root)
    (root / "other.csv").write_text("a,b\n1,2\n")


def _parent(root: Path) -> None:
    layouts.write_ham(root / "ham10000")


def _one_class(root: Path) -> None:
    _image(root / "mel" / "a.png")


def _images_and_masks(root: Path) -> None:
    _image(root / "images" / "a.jpg")
    _image(root / "masks" / "a_segmentation.png")


def _parts_and_tables(root: Path) -> None:
    for part in ("train", "test"):
        _image(root / part / f"{part}.jpg")
    (root / "split.csv").write_text("id,fold\n1,2\n")
    (root / "labels.xlsx").write_bytes(b"PK")


def _semicolons(root: Path) -> None:
    (root / "list.csv").write_text("image;label\na.jpg;mel\n")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "is empty"),
        (_nothing, "no layout recognised; known are"),
        (_flat, "no layout recognised"),
        (_two_archives, "give one of them"),
        (_two_tables, r"several tables name images and their diagnosis \(a.csv, b.csv\); give one of them"),
        (_parent, "ham10000 in it is a data set of its own; give .*/ham10000"),
        (_one_class, "needs two class folders or more, and in it lie mel; give"),
        (_images_and_masks, "needs two class folders or more, and in it lie images; give"),
        (_parts_and_tables, "lie test, train; split.csv has columns id, fold; labels.xlsx is a spreadsheet"),
        (_semicolons, "list.csv: is separated by ';', not by commas; save it as UTF-8 with commas"),
    ],
)
def test_unclear_folders_are_refused(make: Callable[[Path], None], message: str, root: Path) -> None:
    make(root)
    with pytest.raises(DataError, match=message):
        recognise(root)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent", None, "does not exist"),
        ("t.csv", b"a,b\n1,2\n", "no image and label columns among a, b; write"),
        ("semi.csv", b"image;label\na.jpg;mel\n", "is separated by ';', not by commas"),
        ("bom.csv", b"\xef\xbb\xbfimage;age\na.jpg;45,5\n", "is separated by ';'"),
        ("tabs.csv", b"image\tlabel\na.jpg\tmel\n", r"is separated by '\\t'"),
        ("x.xlsx", b"PK\x03\x04", r"spreadsheets \(.xlsx\) are not read; save it as CSV"),
        ("notes.txt", b"image,label\n", "is no table that is read"),
    ],
)
def test_files_that_are_no_comma_separated_table_with_labels_are_refused(
    name: str, content: bytes | None, message: str, root: Path
) -> None:
    if content is not None:
        (root / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        recognise(root / name)


def test_of_several_tables_the_one_that_names_the_images_is_read(root: Path) -> None:
    _table_and_notes(root)
    layout = recognise(root)
    assert layout.data["root"] == str(root / "list.csv")
    assert layout.counts == {"mel": 4, "nv": 4}


def test_class_folders_below_parts_are_two_classes(root: Path) -> None:
    layouts.write_folders(root, parts=("train", "val"))
    assert recognise(root).counts == {"mel": 8, "nv": 8}


def test_a_table_beside_class_folders_is_said_not_to_be_read(root: Path) -> None:
    layouts.write_folders(root)
    (root / "notes.csv").write_text("a,b\n1,2\n")
    assert recognise(root).why == "one folder per class (not read: notes.csv has columns a, b)"
