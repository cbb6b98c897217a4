"""Output is whole or absent."""

import pytest

from engine.commands.output_folder import new_folder, writable_file
from engine.errors import DataError


def test_a_folder_appears_when_it_is_full(tmp_path):
    out = tmp_path / "deep" / "out"
    with new_folder(out) as folder:
        (folder / "a").write_text("1")
        assert not out.exists()
    assert (out / "a").read_text() == "1"
    assert [p.name for p in out.parent.iterdir()] == ["out"]


def test_an_empty_folder_may_be_there_already(tmp_path):
    with new_folder(tmp_path / "out") as folder:
        (tmp_path / "out").mkdir()
        (folder / "a").touch()
    assert (tmp_path / "out" / "a").exists()


def test_nothing_is_left_after_a_failure(tmp_path):
    with pytest.raises(RuntimeError), new_folder(tmp_path / "out") as folder:
        (folder / "a").touch()
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    for name in ("file", "full"):
        with pytest.raises(DataError, match=f"--out: .*{name} exists"), new_folder(tmp_path / name):
            pass


def test_a_place_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be made"), new_folder(tmp_path / "file" / "out"):
        pass
    with pytest.raises(DataError, match=r"--csv: .* cannot be written"):
        writable_file(tmp_path / "file" / "p.csv", "--csv")
    with pytest.raises(DataError, match=r"--json: .* cannot be written .it is a folder"):
        writable_file(tmp_path, "--json")


def test_a_file_that_can_be_made_is_not_made(tmp_path):
    path = tmp_path / "new" / "p.csv"
    assert writable_file(path, "--csv") == path
    assert list(path.parent.iterdir()) == []
