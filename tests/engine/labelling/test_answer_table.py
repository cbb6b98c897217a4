"""Tables of answers as people's programs save them: the same rows whatever the program; errors name the line."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.artifacts.csv_text import csv_text
from engine.errors import DataError
from engine.labelling.answer_table import Row, read_table

ROWS = [
    Row(where="line 2", image="U1", dx="mel", reader="ann"),
    Row(where="line 3", image="U2", dx="?", reader="bob"),
]
PLAIN = "image_id,dx,reader,comment\nU1,mel,ann,\nU2,?,bob,hard to see\n"


def read(folder: Path, content: str | bytes, name: str = "answers.csv") -> list[Row]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(path)


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.removesuffix("\n"),
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        "\ufeff" + PLAIN,
        ("\ufeff" + PLAIN.replace(",", "\t")).encode("utf-16-le"),
        PLAIN + "\n,,,\n\n",
        'image_id,dx,reader\n"U1","mel","ann"\n" U2 ", ? ,"bob"\n',
        "Reader,File,Diagnosis\nann,U1,mel\nbob,U2,?\n",
        "image_id;dx;reader;comment\nU1;mel;ann\nU2;?;bob;asymmetric, two colours\n",
    ],
)
def test_the_same_answers_from_every_program(content: str | bytes, tmp_path: Path) -> None:
    assert read(tmp_path, content) == ROWS


def test_excels_line_that_names_the_separator(tmp_path: Path) -> None:
    found = read(tmp_path, "sep=;\r\nimage_id;dx;reader\r\nU1;mel;ann\r\n")
    assert found == [Row(where="line 3", image="U1", dx="mel", reader="ann")]


def test_a_row_is_where_it_begins(tmp_path: Path) -> None:
    found = read(tmp_path, 'image_id,comment,dx\nU1,"two\nlines",mel\nU2,,nv\n')
    assert [(row.where, row.image, row.dx) for row in found] == [
        ("line 2", "U1", "mel"),
        ("line 4", "U2", "nv"),
    ]


@given(
    st.lists(
        st.tuples(
            *[st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=8)] * 3
        ),
        max_size=5,
    ),
    st.sampled_from(["\n", "\r\n"]),
)
def test_every_cell_comes_back(cells: list[tuple[str, str, str]], end: str) -> None:
    """What our own CSV writer writes is read as it was, but for spaces around it."""
    text = csv_text(("image_id", "dx", "reader"), cells)
    if end == "\r\n":
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator=end).writerows(csv.reader(io.StringIO(text, newline="")))
        text = buffer.getvalue()
    with tempfile.TemporaryDirectory() as place:
        found = read(Path(place), text)
    wanted = [tuple(cell.strip() for cell in row) for row in cells]
    assert [(row.image, row.dx, row.reader) for row in found] == [row for row in wanted if any(row)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "image_id,reader\nU1,ann\n",
            r"line 1: column dx is missing; there are image_id, reader; the columns are",
        ),
        ("", r"line 1: column image_id is missing; there are none"),
        ("image_id,dx,DX\nU1,mel,nv\n", r"line 1: column dx occurs twice; keep one"),
        ("image_id,dx\nU1,mel\nU2,nv,ann\n", r"line 3: has 3 cells, the header 2; quote cells that hold ','"),
        ('image_id,dx\nU1,"mel\nU2,nv\n', r"line 2: is no row of a table .*close its quotes"),
        ('image_id,dx\n"U1"x,mel\n', r"line 2: is no row of a table"),
        (b"image_id,dx\nU1,mel\nU2,n\xe9vus\n", r"line 3: is no UTF-8 text; save the table as CSV UTF-8"),
        ("image_id,dx\nU1,m\0el\n", r"line 2: holds a null character"),
        (b"PK\x03\x04\xff\xff", r"line 1: is no UTF-8 text"),
    ],
)
def test_errors_name_the_file_and_the_line(content: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"answers\.csv, {message}"):
        read(tmp_path, content)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: cannot be read \(No such file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(DataError, match="Is a directory"):
        read_table(tmp_path)
