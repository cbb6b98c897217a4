"""Reading a run folder: optional files, named errors, pictures, secrets."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

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


def test_pictures_are_reduced_and_never_enlarged(tmp_path: Path) -> None:
    for side, expected in ((300, 100), (40, 40)):
        Image.new("RGB", (side, side // 2), "#aa5533").save(tmp_path / "a.png")
        uri = files.picture(tmp_path / "a.png", 100)
        assert uri is not None
        with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
            assert image.size == (expected, expected // 2) and image.format == "PNG"


def test_a_file_that_is_no_picture_gives_none(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    assert files.picture(tmp_path / "a.png", 10) is None
    assert files.picture(tmp_path / "absent.png", 10) is None


def test_inside_refuses_ways_out(tmp_path: Path) -> None:
    (tmp_path / "round").mkdir()
    (tmp_path / "secret.png").write_bytes(b"")
    (tmp_path / "round" / "a.png").write_bytes(b"")
    assert files.inside(tmp_path / "round", "a.png") == (tmp_path / "round" / "a.png").resolve()
    assert files.inside(tmp_path / "round", "../secret.png") is None
    assert files.inside(tmp_path / "round", str(tmp_path / "secret.png")) is None
    assert files.inside(tmp_path / "round", "absent.png") is None
