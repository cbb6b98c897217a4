"""A file is the old one, the new one, or absent; nothing half-written stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.artifacts.whole_files import whole_file, write_text


def test_a_file_and_its_folder_are_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "note.txt"
    assert write_text(path, "näevus") == path
    assert path.read_text(encoding="utf-8") == "näevus"
    assert list(path.parent.iterdir()) == [path]


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = write_text(tmp_path / "note.txt", "old")
    with whole_file(path) as partial:
        partial.write_text("ne")
        assert path.read_text() == "old"
        partial.write_text("new")
    assert path.read_text() == "new"


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = write_text(tmp_path / "note.txt", "old")
    with pytest.raises(OSError, match="disk full"), whole_file(path) as partial:
        partial.write_text("ne")
        raise OSError("disk full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "note.txt"):
        pass
    assert not list(tmp_path.iterdir())
