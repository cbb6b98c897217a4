"""Reading a run folder: optional files, named errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.artifacts import run_files as files
from engine.errors import DataError


def test_missing_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"report\.json: missing; the run has not finished"):
        files.read_run(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "no valid JSON"), ("[]", "holds no list of rounds"), ('{"rounds": 3}', "holds no list of rounds")],
)
def test_broken_report_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(DataError, match=message):
        files.read_run(tmp_path)


def test_broken_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"rounds": []}')
    (tmp_path / "split.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match=r"split\.parquet: is no readable parquet file"):
        files.read_run(tmp_path)


def test_report_alone_is_enough(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"rounds": []}')
    (tmp_path / "rounds" / "notes").mkdir(parents=True)
    run = files.read_run(tmp_path)
    assert run.config == {} and run.config_text == "" and run.split is None and run.rounds == ()
    assert run.round(1) is None
