"""A set's tables survive their file, or their files where one would be too large."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.errors import DataError
from engine.store.files import write_json
from experiments.lib.outcomes import pack_cases
from experiments.table1.set_files import read_set, write_set
from experiments.table1.studies import tables
from tests.experiments.fake_replicates import opened


def test_settings_tried_on_one_set_share_its_cases(tmp_path: Path) -> None:
    first, other = (pack_cases(run) for run in opened(tmp_path, replicates=2))
    tables = {
        "a": {"cases": first, "cells": {"x": 1}},
        "b": {"cells": {}},
        "c": {"cases": dict(first), "cells": {}},
        "d": {"cases": other, "cells": {}},
    }
    found = {"set": 0, "part": "development", "tables": tables}
    write_set(tmp_path / "set_00.json", found)
    assert read_set(tmp_path / "set_00.json") == found
    assert len(json.loads((tmp_path / "set_00.json").read_text())["cases"]) == 2
    write_json(tmp_path / "older.json", found)  # a confirming set, by the engine the study began with
    assert read_set(tmp_path / "older.json") == found


def test_a_set_that_one_file_cannot_hold_goes_on_in_others(tmp_path: Path) -> None:
    """Cells of 100 letters in files of 320 bytes: two cells fit beside their table's cases, three fit alone."""
    cells = {name: {"outcome": name * 100} for name in "abcdefg"}
    cases = {"name": "set 2"}
    found = {
        "set": 2,
        "part": "confirm",
        "tables": {
            "first": {"cells": cells, "command": "one", "cases": cases},
            "second": {"cells": {"h": {"outcome": "h"}}, "command": "two", "cases": {"name": "another"}},
            "third": {"cells": {}, "command": "three", "cases": cases},
        },
    }
    path = tmp_path / "set_02.json"
    write_set(path, found, largest=320)
    files = {p.name: json.loads(p.read_text()) for p in sorted(tmp_path.iterdir())}
    kept = {
        name: {label: "".join(t["cells"]) for label, t in f["tables"].items()} for name, f in files.items()
    }
    assert kept == {
        "set_02.json": {"first": "ab"},
        "set_02_file_2.json": {"first": "cd"},
        "set_02_file_3.json": {"first": "ef"},
        "set_02_file_4.json": {"first": "g", "second": "h", "third": ""},
    }
    assert [f.get("files") for f in files.values()] == [4, None, None, None]
    assert [list(f["cases"]) for f in files.values()] == [["0"], [], [], ["1"]]
    again = read_set(path)
    assert again == found
    assert list(again["tables"]["first"]["cells"]) == list("abcdefg"), "means and commits follow the order"
    assert [label for _, _, label, _ in tables(tmp_path)] == ["first", "second", "third"], "a set once"
    (tmp_path / "set_02_file_3.json").unlink()
    with pytest.raises(DataError, match=r"set_02_file_3\.json: cannot be read"):
        read_set(path)
    write_set(path, found)
    assert [p.name for p in tmp_path.iterdir()] == ["set_02.json"]


def test_a_file_that_the_first_one_does_not_count_is_no_part_of_the_set(tmp_path: Path) -> None:
    """A set that another clone wrote in one file is copied beside files of an older, larger one."""
    found = {"set": 2, "part": "confirm", "tables": {"first": {"cells": {"a": 1}}}}
    write_json(tmp_path / "set_02.json", found)
    write_json(tmp_path / "set_02_file_2.json", {"tables": {"first": {"cells": {"b": 2}}}, "cases": {}})
    assert read_set(tmp_path / "set_02.json") == found
