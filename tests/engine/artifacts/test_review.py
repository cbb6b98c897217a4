"""Verdicts of a person: written blank, never over a filled one, read back, wrong ones named with their line."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.artifacts.review import read_verdicts, write_blank
from engine.errors import DataError


def test_blank_then_filled(tmp_path: Path) -> None:
    path = tmp_path / "rounds" / "review.csv"
    assert read_verdicts(path) == {}
    write_blank(path, ["a", "b", "c"])
    assert path.read_text() == "image,verdict,reviewer\na,,\nb,,\nc,,\n"
    assert read_verdicts(path, ["a", "b", "c"]) == {}
    path.write_text("image,verdict,reviewer\na,Accept ,dr x\nb,reject,\nc,,\n")
    write_blank(path, ["a", "b", "c"])
    assert read_verdicts(path, ["a", "b", "c"]) == {"a": "accept", "b": "reject"}


def test_what_a_spreadsheet_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    path.write_bytes("\ufeffreviewer,image,verdict\r\ndr x,a,ACCEPT\r\n".encode())
    assert read_verdicts(path) == {"a": "accept"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,reviewer\na,x\n", r"column verdict is missing; the columns are image, verdict, reviewer"),
        ("image,verdict\na,maybe\n", r"line 2: verdict 'maybe' is none; write accept, reject"),
        ("image,verdict\na,accept\na,reject\n", r"line 3: a has a second verdict"),
        ("image,verdict\nz,accept\n", r"line 2: 'z' is none of this round's images; delete the line"),
    ],
)
def test_wrong_files_name_the_line_and_the_remedy(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "review.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_verdicts(path, ["a", "b"])
