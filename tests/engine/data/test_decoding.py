"""Every mode, orientation and broken file has one defined outcome; ordinary images decode as Pillow alone does."""

from __future__ import annotations

import io
import os
import random
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from engine.data.decoding import (
    DRAFT_FACTOR,
    PIXEL_LIMIT,
    TURNS,
    ImageFileError,
    decode_image,
    grey,
    open_image,
    open_picture,
    rgb,
    size_of,
    stored_sideways,
    to_square,
)
from engine.data.images import decode_mask
from tests.engine.data import layouts
from tests.engine.data.layouts import png_of


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def mean_of(path: Path) -> float:
    return float(decode_image(path, 16).mean())


def as_pillow_does(path: Path, size: int, fit: str) -> np.ndarray:
    """Decode as version 3 of the images stage did."""
    image = Image.open(path)
    if image.format == "JPEG":
        image.draft("RGB", (DRAFT_FACTOR * size, DRAFT_FACTOR * size))
    if image.mode.startswith("I"):
        high = np.asarray(image)
        image = Image.fromarray((high // (257 if high.max(initial=0) > 255 else 1)).astype(np.uint8))
    return np.asarray(to_square(image.convert("RGB"), size, fit, Image.Resampling.BICUBIC))


@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("a.jpg", "RGB", {"quality": 90}),
        ("a.jpg", "L", {}),
        ("a.jpg", "CMYK", {}),
        ("a.jpg", "RGB", {"exif": exif(1)}),
        ("a.png", "RGB", {}),
        ("a.png", "RGBA", {}),
        ("a.png", "LA", {}),
        ("a.png", "P", {}),
        ("a.png", "1", {}),
        ("a.png", "I;16", {}),
        ("a.bmp", "RGB", {}),
        ("a.tif", "RGB", {"compression": "tiff_lzw"}),
        ("a.tif", "CMYK", {}),
        ("a.tif", "I", {}),
        ("a.webp", "RGB", {"lossless": True}),
    ],
)
def test_ordinary_images_decode_bit_for_bit_as_before(
    tmp_path: Path, name: str, mode: str, options: dict, fit: str
) -> None:
    picture = Image.fromarray(layouts.picture(3, 190, 130))
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 200)
    else:
        picture = picture.convert(mode)
    picture.save(tmp_path / name, **options)
    assert np.array_equal(decode_image(tmp_path / name, 32, fit), as_pillow_does(tmp_path / name, 32, fit))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_exif_turns_as_viewers_do(tmp_path: Path, name: str, orientation: int) -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:20, :30], pixels[20:, 30:] = (200, 40, 40), (40, 40, 200)
    Image.fromarray(pixels).save(tmp_path / name, exif=exif(orientation))
    picture = open_picture(tmp_path / name)
    with Image.open(tmp_path / name) as opened:
        expected = ImageOps.exif_transpose(opened)
    assert np.array_equal(np.asarray(picture.image), np.asarray(expected))
    assert picture.orientation == orientation
    if name != "a.png":  # its EXIF may follow the pixels, which size_of does not read
        assert size_of(tmp_path / name) == expected.size
        assert stored_sideways(tmp_path / name) == (orientation >= 5)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_reduced_jpeg_is_turned_like_a_full_one(tmp_path: Path, orientation: int) -> None:
    Image.fromarray(layouts.picture(0, 640, 480)).save(tmp_path / "a.jpg", exif=exif(orientation), quality=95)
    with Image.open(tmp_path / "a.jpg") as opened:
        full = decode_image(np.asarray(ImageOps.exif_transpose(opened)), 32, "stretch").astype(int)
    reduced = decode_image(tmp_path / "a.jpg", 32, "stretch").astype(int)
    assert np.abs(reduced - full).mean() < 2
    assert open_image(tmp_path / "a.jpg", 32).image.width < 320


def test_broken_exif_beside_good_pixels_is_no_error(tmp_path: Path) -> None:
    Image.fromarray(layouts.picture(0)).save(tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert decode_image(tmp_path / "a.jpg", 16).shape == (16, 16, 3)


def lesion_pair(folder: Path, orientation: int, drawn_on: str, width: int, height: int) -> tuple[Path, Path]:
    """Save an image with a dark square off the centre, stored as a camera does, and its mask."""
    shown = np.full((height, width, 3), 220, np.uint8)
    shown[height // 2 : height // 2 + 16, 4:24] = 30
    mask = np.where(shown[..., 0] < 100, 255, 0).astype(np.uint8)
    back = {5: 5, 6: 8, 7: 7, 8: 6}.get(orientation, orientation)
    stored = Image.fromarray(shown).transpose(TURNS[back]) if back in TURNS else Image.fromarray(shown)
    stored.save(folder / "x.jpg", exif=exif(orientation), quality=95)
    drawn = Image.fromarray(mask)
    if drawn_on == "stored" and back in TURNS:
        drawn = drawn.transpose(TURNS[back])
    drawn.save(folder / "x_segmentation.png")
    return folder / "x.jpg", folder / "x_segmentation.png"


@pytest.mark.parametrize(
    ("orientation", "drawn_on", "width", "height"),
    [
        *((n, "shown", *size) for n in range(1, 9) for size in ((48, 48), (64, 40))),
        *((n, "stored", 64, 40) for n in (1, 5, 6, 7, 8)),
    ],
)
def test_image_and_mask_overlap(
    tmp_path: Path, orientation: int, drawn_on: str, width: int, height: int
) -> None:
    """Where a turn leaves the proportions (2, 3, 4) nobody can tell what a mask was drawn on: it is taken as it is."""
    image, mask = lesion_pair(tmp_path, orientation, drawn_on, width, height)
    picture = open_image(image, 32)
    dark = decode_image(image, 32, "stretch")[..., 0] < 125
    inside = decode_mask(mask, 32, "stretch", picture) > 127
    assert inside.sum() > 20
    assert (dark & inside).sum() / (dark | inside).sum() > 0.9


def test_a_mask_with_an_orientation_of_its_own_obeys_it(tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 64, 3), 99, np.uint8)).save(tmp_path / "x.jpg", exif=exif(6))
    mask = np.zeros((40, 64), np.uint8)
    mask[:, :20] = 255
    Image.fromarray(mask).save(tmp_path / "m.png", exif=exif(6))
    found = decode_mask(tmp_path / "m.png", 32, "stretch", open_image(tmp_path / "x.jpg", 32))
    assert found[:8].all() and not found[12:].any()


def test_transparent_parts_are_white_in_an_image_and_black_in_a_mask(tmp_path: Path) -> None:
    pixels = np.zeros((20, 20, 4), np.uint8)
    pixels[:, :10] = (200, 0, 0, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels).convert("RGB").quantize(4).save(tmp_path / "p.png", transparency=0)
    found = np.asarray(rgb(open_picture(tmp_path / "a.png").image))
    assert (found[:, :10] == (200, 0, 0)).all() and (found[:, 10:] == 255).all()
    mask = np.asarray(grey(open_picture(tmp_path / "a.png").image))
    assert (mask[:, :10] == 200).all() and (mask[:, 10:] == 0).all()
    assert (np.asarray(rgb(open_picture(tmp_path / "p.png").image)) == 255).all(axis=-1).mean() == 0.5


@pytest.mark.parametrize("colour", [(255, 0, 0), (128, 0, 0), (0, 0, 255), (255, 255, 255)])
def test_a_mask_in_colour_is_a_mask(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[:, :5] = colour
    Image.fromarray(pixels).save(tmp_path / "rgb.png")
    Image.fromarray(pixels).quantize(2).save(tmp_path / "palette.png")
    for name in ("rgb.png", "palette.png"):
        assert (decode_mask(tmp_path / name, 20) > 127).mean() == 0.25


@pytest.mark.parametrize(("value", "expected"), [(0.5, 128), (1.0, 255), (0.0, 0), (200.0, 200), (1.5, 1)])
def test_floats_are_scaled_from_one_or_read_up_to_255(tmp_path: Path, value: float, expected: int) -> None:
    Image.fromarray(np.full((16, 16), value, np.float32)).save(tmp_path / "f.tif")
    assert mean_of(tmp_path / "f.tif") == expected


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.full((8, 8), 1000.0, np.float32), "values go from 0 to 1000"),
        (np.full((8, 8), -0.5, np.float32), "values go from -0.5 to 0"),
        (np.full((8, 8), np.nan, np.float32), "values go from nan to nan"),
        (np.full((8, 8), 70000, np.int32), "values go from 0 to 70000"),
        (np.full((8, 8), -1, np.int32), "values go from -1 to 0"),
    ],
)
def test_values_without_a_place_in_eight_bits_are_refused(
    tmp_path: Path, values: np.ndarray, said: str
) -> None:
    Image.fromarray(values).save(tmp_path / "f.tif")
    with pytest.raises(ImageFileError, match=f"{said}.*save it with 8 bits"):
        decode_image(tmp_path / "f.tif", 16)


@pytest.mark.parametrize("name", ["a.tif", "a.webp", "a.png"])
def test_of_several_frames_the_first_is_read(tmp_path: Path, name: str) -> None:
    frames = [Image.new("RGB", (16, 16), (value, value, value)) for value in (50, 150, 250)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
    assert open_picture(tmp_path / name).several
    assert mean_of(tmp_path / name) == 50
    frames[0].save(tmp_path / name, lossless=True)
    assert not open_picture(tmp_path / name).several


def test_the_second_picture_of_a_phone_is_no_frame(tmp_path: Path) -> None:
    large, small = (Image.new("RGB", (side, side), (90, 90, 90)) for side in (64, 16))
    large.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[small])
    picture = open_picture(tmp_path / "a.jpg")
    assert picture.image.size == (64, 64)
    assert not picture.several


def test_a_decompression_bomb_is_named_with_its_size_and_the_limit(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png_of(30000, 30000))
    for look in (open_picture, size_of, stored_sideways):
        with pytest.raises(ImageFileError, match=f"30000 x 30000 pixels.*{PIXEL_LIMIT:,}"):
            look(tmp_path / "bomb.png")


def test_the_limit_holds_when_pillows_own_is_lifted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    (tmp_path / "bomb.png").write_bytes(png_of(16000, 16000))
    with pytest.raises(ImageFileError, match="16000 x 16000 pixels"):
        open_picture(tmp_path / "bomb.png")


def fifo(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("make", [fifo, folder, device, unix_socket])
def test_what_is_no_plain_file_is_never_opened(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a.png")
    for look in (open_picture, size_of):
        with pytest.raises(ImageFileError, match="no plain file"):
            look(tmp_path / "a.png")


def test_absent_and_foreign_files_are_named_in_plain_words(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("<html>")
    with pytest.raises(ImageFileError, match=r"^it is no image that can be read"):
        open_picture(tmp_path / "a.png")
    with pytest.raises(ImageFileError, match=r"^No such file"):
        open_picture(tmp_path / "b.png")


FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "MPO", "GIF", "PPM")


def stored(kind: str, seed: int) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(layouts.picture(seed, 20, 14))
    image.save(buffer, format=kind, **({"exif": exif(6)} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {}))
    return buffer.getvalue()


def damaged(content: bytes, seed: int) -> bytes:
    """Return a file's bytes with some changed, some cut off the end or the middle."""
    source = random.Random(seed)
    data = bytearray(content)
    for _ in range(source.randint(1, 12)):
        data[source.randrange(len(data))] = source.randrange(256)
    if source.random() < 0.4:
        del data[source.randrange(1, len(data)) :]
    if source.random() < 0.2:
        start = source.randrange(len(data))
        del data[start : start + source.randint(1, 40)]
    return bytes(data)


def decodes_or_is_named(folder: Path, content: bytes) -> None:
    path = folder / "a.png"
    path.write_bytes(content)
    try:
        image = decode_image(path, 16)
    except ImageFileError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert image.shape == (16, 16, 3)
    try:
        assert decode_mask(path, 16).shape == (16, 16)
        assert min(size_of(path)) > 0
    except ImageFileError as error:
        assert str(error)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@settings(max_examples=3_000, deadline=None)
@given(kind=st.sampled_from(FORMATS), seed=st.integers(0, 2**32))
def test_damaged_files_decode_or_are_named(
    tmp_path_factory: pytest.TempPathFactory, kind: str, seed: int
) -> None:
    decodes_or_is_named(tmp_path_factory.getbasetemp(), damaged(stored(kind, seed % 3), seed))


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")
@settings(max_examples=5000, deadline=None)
@given(kind=st.sampled_from(FORMATS), seed=st.integers(0, 2**32))
def test_many_damaged_files_decode_or_are_named(
    tmp_path_factory: pytest.TempPathFactory, kind: str, seed: int
) -> None:
    decodes_or_is_named(tmp_path_factory.getbasetemp(), damaged(stored(kind, seed % 3), seed))
