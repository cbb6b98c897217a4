"""Verdicts of a person: written blank, never over a filled one, read back, wrong ones named with their line."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.artifacts.review import read_reviewers, read_verdicts, write_blank, write_verdict
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


def test_a_verdict_keeps_rows_order_and_further_columns(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    path.write_bytes(
        '\ufeffnote,image,verdict,reviewer\r\n=1+1,b,,\r\n"x, y",\'=a,reject,Bo\r\nz,c,,\r\n'.encode()
    )
    assert write_verdict(path, "c", "accept", "-Ana")
    assert (
        path.read_text()
        == "note,image,verdict,reviewer\n'=1+1,b,,\n\"x, y\",'=a,reject,Bo\nz,c,accept,'-Ana\n"
    )
    assert read_reviewers(path) == {"b": ("", ""), "=a": ("reject", "Bo"), "c": ("accept", "-Ana")}
    assert write_verdict(path, "c", "reject", "-Ana"), "one's own may be changed"
    assert not write_verdict(path, "=a", "accept", "-Ana"), "another's may not"
    assert not write_verdict(path, "b", "", "-Ana")
    assert write_verdict(path, "c", "", "-Ana") and read_verdicts(path) == {"=a": "reject"}
    with pytest.raises(DataError, match="has no line for d"):
        write_verdict(path, "d", "accept", "Ana")


def test_a_sheet_without_the_column_of_reviewers_gets_it(tmp_path: Path) -> None:
    path = tmp_path / "review.csv"
    path.write_text("image,verdict\na,\n")
    assert write_verdict(path, "a", "accept", "Ana")
    assert path.read_text() == "image,verdict,reviewer\na,accept,Ana\n"


def test_two_at_a_time_lose_nothing(tmp_path: Path) -> None:
    path, names = tmp_path / "review.csv", [f"i{n}" for n in range(40)]
    write_blank(path, names)
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda n: write_verdict(path, n, "accept", f"r{int(n[1:]) % 3}"), names))
    assert all(done) and list(read_verdicts(path)) == names
