"""Pictures: EXIF's turn applied, nothing but pixels sent, bounded, the decoded image where the file is gone."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.errors import DataError
from engine.review.pictures import Photo, Pictures, encode, picture_key


def stored(path: Path, size: tuple[int, int] = (60, 40)) -> Path:
    """A photograph that EXIF turns by a quarter, with a place, a comment and a profile."""
    image = Image.new("RGB", size, "white")
    image.paste("red", (0, 0, size[0] // 2, size[1]))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "Jane Doe"
    image.save(path, exif=exif, comment=b"ward 7", icc_profile=b"x" * 200, quality=95)
    return path


def shown(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_a_photograph_is_turned_and_stripped(tmp_path: Path) -> None:
    found = encode(Photo(path=str(stored(tmp_path / "a.jpg"))), 4096)
    image = shown(found.content)
    assert image.size == (40, 60)
    top, bottom = image.getpixel((20, 10)), image.getpixel((20, 50))
    assert top[1] < 60 and bottom[1] > 200, "red is on top once the image is turned"
    assert not image.getexif() and "comment" not in image.info and "icc_profile" not in image.info
    for secret in (b"Jane", b"ward", b"Exif"):
        assert secret not in found.content


def test_sides_are_bounded_and_proportions_stay(tmp_path: Path) -> None:
    path = stored(tmp_path / "a.jpg", (600, 300))
    assert shown(encode(Photo(path=str(path)), 100).content).size == (50, 100)


def test_the_decoded_image_stands_in_and_keeps_its_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8)
    for path in ("", str(tmp_path / "gone.jpg"), str(tmp_path)):
        found = encode(Photo(path=path, decoded=lambda: pixels), 4096)
        assert found.media_type == "image/png" and (np.asarray(shown(found.content)) == pixels).all()
    with pytest.raises(DataError, match=r"gone\.jpg: .*rerun"):
        encode(Photo(path=str(tmp_path / "gone.jpg")), 4096)


def test_keys_tell_no_name_and_unknown_ones_find_nothing() -> None:
    key = picture_key("photograph", "mel_001")
    assert key == picture_key("photograph", "mel_001") != picture_key("photograph", "mel_002")
    assert "mel" not in key and picture_key("a", "b\0c") != picture_key("b", "c")
    assert Pictures().get("/etc/passwd") is None
