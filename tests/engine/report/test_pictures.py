"""Pictures of a run folder: reduced, never enlarged, never from outside the folder."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from engine.report.pictures import inside, picture


def opened(uri: str | None) -> Image.Image:
    assert uri is not None
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_pictures_are_reduced_and_never_enlarged(tmp_path: Path) -> None:
    for side, expected, kind in ((300, 100, "WEBP"), (40, 40, "PNG")):
        Image.new("RGB", (side, side // 2), "#aa5533").save(tmp_path / "a.png")
        found = opened(picture(tmp_path / "a.png", 100))
        assert (found.size, found.format) == ((expected, expected // 2), kind)
        assert np.abs(np.asarray(found.convert("RGB")).astype(int) - (0xAA, 0x55, 0x33)).max() <= 3


def test_small_pictures_are_kept_to_the_bit(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(opened(picture(tmp_path / "a.png", 100))), pixels)


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
