"""Pictures of a run folder: reduced, never enlarged, never from outside the folder."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from engine.report.pictures import inside, picture


def test_pictures_are_reduced_and_never_enlarged(tmp_path: Path) -> None:
    for side, expected in ((300, 100), (40, 40)):
        Image.new("RGB", (side, side // 2), "#aa5533").save(tmp_path / "a.png")
        uri = picture(tmp_path / "a.png", 100)
        assert uri is not None
        with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
            assert image.size == (expected, expected // 2) and image.format == "PNG"


def test_a_file_that_is_no_picture_gives_none(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    assert picture(tmp_path / "a.png", 10) is None
    assert picture(tmp_path / "absent.png", 10) is None


def test_inside_refuses_ways_out(tmp_path: Path) -> None:
    (tmp_path / "round").mkdir()
    (tmp_path / "secret.png").write_bytes(b"")
    (tmp_path / "round" / "a.png").write_bytes(b"")
    assert inside(tmp_path / "round", "a.png") == (tmp_path / "round" / "a.png").resolve()
    assert inside(tmp_path / "round", "../secret.png") is None
    assert inside(tmp_path / "round", str(tmp_path / "secret.png")) is None
    assert inside(tmp_path / "round", "absent.png") is None
