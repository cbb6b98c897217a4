"""Folders are listed once where that is asked for, anew everywhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.artifacts.own_output import below
from engine.data.readers import files


def test_a_folder_is_listed_once_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.jpg").touch()
    walks: list[Path] = []
    monkeypatch.setattr(files, "below", lambda root, *rest: walks.append(root) or list(below(root, *rest)))
    with files.listed_once():
        first, again, inner = (files.find_files(root) for root in (tmp_path, tmp_path, tmp_path / "in"))
    assert (first, [path.name for path in inner.images]) == (again, ["b.jpg"])
    assert walks == [tmp_path, tmp_path / "in"]
    (tmp_path / "c.jpg").touch()
    assert len(files.find_files(tmp_path).images) == 3  # afterwards every call looks
