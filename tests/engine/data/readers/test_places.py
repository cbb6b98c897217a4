"""Where a table's cells lead: below the folder of the images and nowhere else, whatever the case or suffix."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.readers.places import bare, inside, locate
from engine.errors import DataError

ROOT = Path("/data/images")
TABLE = Path("/data/meta/list.csv")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a.jpg", "a.jpg"),
        ("x\\a.jpg", "x/a.jpg"),
        ("/data/images/x/a.jpg", "x/a.jpg"),
        ("../images/a.jpg", "a.jpg"),
        ("/data/images/../images/a.jpg", "a.jpg"),
    ],
)
def test_paths_below_the_images_are_taken(text: str, found: str) -> None:
    assert inside(TABLE, ROOT, 0, text) == PurePosixPath(found)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "../a.jpg",
        "/etc/passwd",
        "/data/images",
        "/data/images/../../etc/x",
        "../../a.jpg",
        "a\0.jpg",
        "c:a",
        "/data/imagesx/a",
    ],
)
def test_paths_elsewhere_are_refused(text: str) -> None:
    with pytest.raises(
        DataError, match=r"row 8 does not lie below /data/images; give a path relative.*data\.images"
    ):
        inside(TABLE, ROOT, 7, text)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="./\\ab:~\0", max_size=14))
def test_no_path_leaves_the_folder(text: str) -> None:
    try:
        found = inside(TABLE, ROOT, 0, text)
    except DataError:
        return
    assert found.parts and not found.is_absolute() and ".." not in found.parts


@pytest.mark.parametrize(
    ("given_path", "found"),
    [
        ("a.jpg", "/r/x/a.jpg"),
        ("a", "/r/x/a.jpg"),
        ("A.JPG", "/r/x/a.jpg"),
        ("b.jpg", "/r/B.JPG"),
        ("B", "/r/B.JPG"),
        ("x/a", "/r/x/a.jpg"),
        ("X/A.jpg", "/r/x/a.jpg"),
        ("b.png", "/r/B.JPG"),
        ("twice", ""),
        ("none", ""),
        ("y/a.jpg", ""),
    ],
)
def test_names_are_found_whatever_case_and_suffix(given_path: str, found: str) -> None:
    files = [Path(p) for p in ("/r/x/a.jpg", "/r/B.JPG", "/r/x/twice.jpg", "/r/y/twice.jpg")]
    assert locate(Path("/r"), [PurePosixPath(given_path)], files) == [found]


def test_case_counts_where_both_are_there() -> None:
    files = [Path("/r/a.jpg"), Path("/r/A.jpg")]
    assert locate(Path("/r"), map(PurePosixPath, ("a.jpg", "A.jpg", "a.JPG")), files) == [
        "/r/a.jpg",
        "/r/A.jpg",
        "",
    ]


@pytest.mark.parametrize(
    ("name", "stem"), [("a.jpg", "a"), ("a.JPG", "a"), ("a.b", "a.b"), ("a", "a"), ("x/a.jpg", "x/a.jpg")]
)
def test_bare_names(name: str, stem: str) -> None:
    assert bare(name) == stem
