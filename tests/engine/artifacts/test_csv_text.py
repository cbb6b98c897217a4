"""No cell begins a formula, numbers stay numbers, and what is read back is what was written."""

from __future__ import annotations

import ast
import csv
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import engine
from engine.artifacts import csv_text as csv_text_file
from engine.artifacts.csv_text import csv_text, escaped, unescaped, write_csv
from engine.artifacts.own_output import mark
from engine.artifacts.review import read_verdicts, write_blank
from engine.data.readers.rows import read_rows

ROOT = Path(engine.__file__).parent.parent
FORMULA = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
CELLS = st.text(
    alphabet=st.sampled_from([*FORMULA, "'", '"', ",", " ", "a", "1", ".", "e", "\u00e4"]), max_size=6
)


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"), ("+a", "'+a"), ("-a", "'-a"), ("@SUM(A1)", "'@SUM(A1)"), ("\tx", "'\tx"), ("\rx", "'\rx"),
        ("\uff1d1", "'\uff1d1"), ("'=1", "''=1"), ("-0.5", "-0.5"), ("+3", "+3"), ("-1e-5", "-1e-5"), ("-1-1", "'-1-1"),
        ("-\u0661", "'-\u0661"), ("'q3", "'q3"), ("a=1", "a=1"), ("", ""), ("-", "'-"), ("-.", "'-."),
    ],
)  # fmt: skip
def test_cells(cell: str, written: str) -> None:
    assert escaped(cell) == written
    assert unescaped(written) == cell


@given(CELLS)
def test_every_cell_comes_back_and_none_begins_a_formula(cell: str) -> None:
    written = escaped(cell)
    assert unescaped(written) == cell
    if written[:1] in [*FORMULA]:
        assert float(written) == float(cell)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5))
def test_a_table_comes_back_cell_by_cell(rows: list[tuple[str, str]]) -> None:
    text = csv_text(("a", "b"), rows)
    back = list(csv.reader(io.StringIO(text, newline="")))
    assert [[unescaped(cell) for cell in row] for row in back] == [["a", "b"], *map(list, rows)]


IDS = st.text(
    st.characters(exclude_characters="/\\\0", exclude_categories=["Cs"]), min_size=1, max_size=8
).filter(lambda name: name not in (".", ".."))


@settings(max_examples=60, deadline=None)
@given(st.lists(IDS, min_size=1, max_size=4, unique=True))
def test_ids_of_an_export_and_of_verdicts_come_back(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("export")
    write_csv(pd.DataFrame({"image_id": ids, "dx": ["=mel()"] * len(ids)}), folder / "HAM10000_metadata.csv")
    mark(folder, "export")
    frame = read_rows(folder / "HAM10000_metadata.csv")
    assert frame["image_id"].tolist() == ids
    assert set(frame["dx"]) == {"=mel()"}


@pytest.mark.parametrize("name", ["=1+1-0001", "'=x", "-a,b", 'say "x"', "plain"])
def test_verdicts_on_images_with_such_names_are_read_back(tmp_path: Path, name: str) -> None:
    path = tmp_path / "review.csv"
    write_blank(path, [name])
    frame = pd.read_csv(path, dtype=str).assign(verdict="accept")
    assert not frame["image"][0].startswith(("=", "-"))
    frame.to_csv(path, index=False)
    assert read_verdicts(path, [name]) == {name: "accept"}


def test_a_users_own_table_is_not_unescaped(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,dx\n'=a, mel \n")
    assert read_rows(tmp_path / "t.csv").iloc[0].tolist() == ["'=a", "mel"]


def test_numbers_are_written_as_pandas_writes_them(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "f": [0.1 + 0.2, np.nan, -0.5, 1e-17], "i": [1, -2, 3, 4], "b": [True, False, True, False],
            "n": [None] * 4, "o": [1.5, None, "x", True], "p": np.array([0.1, 1 / 3, -1e30, 0.0]),
        }
    )  # fmt: skip
    write_csv(frame, tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == frame.to_csv(index=False, lineterminator="\n")
    write_csv(frame[:0], tmp_path / "none.csv")
    assert (tmp_path / "none.csv").read_text() == "f,i,b,n,o,p\n"


def test_nobody_else_writes_csv() -> None:
    own = Path(csv_text_file.__file__)
    found = []
    for path in (
        p
        for folder in ("engine", "experiments", "policies")
        for p in (ROOT / folder).rglob("*.py")
        if p != own
    ):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and (
                node.attr == "to_csv"
                or (node.attr in ("writer", "DictWriter") and ast.unparse(node.value) == "csv")
            ):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == [], "write CSV through engine.artifacts.csv_text:\n" + "\n".join(found)
