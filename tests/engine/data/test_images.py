"""One geometry for all sources; broken files are named; the cache does not depend on threads."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.config import DataConfig
from engine.data.decoding import decode_image
from engine.data.images import data_digest, decode_mask, fill_cache
from engine.data.readers.rows import read_rows
from engine.data.readers.table import read
from engine.data.table import Source
from engine.errors import DataError
from tests.engine.data import layouts
from tests.engine.data.layouts import png_of


def quiet(what: str, done: int, total: int) -> None:
    """Say nothing."""


def ham(root: Path, **more: object) -> tuple[Source, DataConfig]:
    config = DataConfig.model_validate({"format": "ham10000", "root": str(root), "image_size": 16, **more})
    return read(config, 0), config


def stripes(width: int, height: int) -> np.ndarray:
    """Columns left and right of the central square are red, the square is green."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = 255
    start = (width - height) // 2
    image[:, start : start + height] = (0, 255, 0)
    return image


def test_crop_keeps_the_central_square_and_stretch_everything() -> None:
    image = stripes(80, 40)
    assert np.all(decode_image(image, 20, "crop")[:, 1:-1] == (0, 255, 0))
    stretched = decode_image(image, 20, "stretch")
    assert stretched[10, 0].tolist() == [255, 0, 0]
    assert stretched[10, 10].tolist() == [0, 255, 0]


def test_wide_and_square_sources_show_a_lesion_at_the_same_scale() -> None:
    wide = np.full((60, 80, 3), 200, np.uint8)
    wide[20:40, 30:50] = 10
    square = np.full((30, 30, 3), 200, np.uint8)
    square[10:20, 10:20] = 10
    widths = [int(np.sum(decode_image(x, 30)[15, :, 0] < 100)) for x in (wide, square)]
    assert widths == [10, 10]


def test_scaling_is_antialiased() -> None:
    checker = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    assert np.ptp(decode_image(checker, 16)[2:-2, 2:-2].astype(int)) <= 2


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_any_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.fromarray(layouts.picture(0)).convert(mode).save(path)
    assert decode_image(path, 16).shape == (16, 16, 3)


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((16, 16), 257 * 100, np.uint16)).save(tmp_path / "a.png")
    assert np.all(decode_image(tmp_path / "a.png", 16) == 100)


def test_reduced_jpeg_decoding_agrees_with_the_full_one(tmp_path: Path) -> None:
    Image.fromarray(layouts.picture(0, 640, 480)).save(tmp_path / "a.jpg", quality=95)
    reduced = decode_image(tmp_path / "a.jpg", 32).astype(int)
    full = decode_image(np.asarray(Image.open(tmp_path / "a.jpg")), 32).astype(int)
    assert np.abs(reduced - full).mean() < 2


def test_mask_of_another_size_is_cut_like_its_image(tmp_path: Path) -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[20:40, 30:50] = 255
    expected = decode_mask(mask, 30)
    assert expected[10:20, 10:20].all()
    assert expected.sum() == 255 * 100
    Image.fromarray(mask).resize((160, 120), Image.Resampling.NEAREST).convert("1").save(tmp_path / "m.png")
    assert np.array_equal(decode_mask(tmp_path / "m.png", 30), expected)


def test_cache_holds_rows_in_order_whatever_the_threads(tmp_path: Path) -> None:
    layouts.write_ham(tmp_path / "data", rows=layouts.ham_rows(40))
    digests = []
    steps: list[tuple[str, int, int]] = []
    for workers in (1, 3):
        source, config = ham(tmp_path / "data", workers=workers)
        out = tmp_path / str(workers)
        out.mkdir()
        decoded = fill_cache(source, config, out, lambda *step: steps.append(step))
        digests.append(data_digest(source.table, out))
        assert steps[-1] == ("images", 80, 80)
    images = np.load(out / "images.npy", mmap_mode="r")
    assert images.shape == (80, 16, 16, 3)
    assert np.array_equal(images[5], decode_image(source.table.path[5], 16))
    assert decoded.masks == {"file": 80, "otsu": 0, "none": 0}
    assert digests[0] == digests[1]
    assert data_digest(source.table.replace(dx=source.table.dx[::-1]), out) != digests[0]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize("name", ["images/ISIC_0020.jpg", "masks/ISIC_0020_segmentation.png"])
def test_truncated_file_fails_by_name(tmp_path: Path, name: str) -> None:
    layouts.write_ham(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source, config = ham(tmp_path)
    with pytest.raises(DataError, match=f"{name}: cannot be decoded .*on_bad_image=skip"):
        fill_cache(source, config, tmp_path, quiet)


def test_bad_images_are_skipped_counted_and_left_out(tmp_path: Path) -> None:
    layouts.write_ham(tmp_path)
    truncate(tmp_path / "images" / "ISIC_0020.jpg")
    (tmp_path / "images" / "ISIC_0031.jpg").write_text("no image")
    source, config = ham(tmp_path, on_bad_image="skip")
    decoded = fill_cache(source, config, tmp_path, quiet)
    assert [name for name, _ in decoded.skipped] == ["ISIC_0020", "ISIC_0031"]
    assert "truncated" in decoded.skipped[0][1]
    assert "it is no image" in decoded.skipped[1][1]
    kept = source.take(decoded.good_N)
    images = np.load(tmp_path / "images.npy")
    assert images.shape[0] == len(kept.table) == np.load(tmp_path / "masks.npy").shape[0] == 14
    assert np.array_equal(images[-1], decode_image(kept.table.path[-1], 16))


def test_all_images_bad(tmp_path: Path) -> None:
    layouts.write_ham(tmp_path)
    for path in (tmp_path / "images").iterdir():
        path.write_text("no")
    source, config = ham(tmp_path, on_bad_image="skip")
    with pytest.raises(DataError, match="none of its 16 images could be decoded"):
        fill_cache(source, config, tmp_path, quiet)


def test_masks_by_kind(tmp_path: Path) -> None:
    layouts.write_ham(tmp_path)
    (tmp_path / "masks" / "ISIC_0000_segmentation.png").unlink()
    layouts.save(tmp_path / "masks" / "ISIC_0001_segmentation.png", np.zeros((30, 40), np.uint8))
    source, config = ham(tmp_path)
    decoded = fill_cache(source, config, tmp_path, quiet)
    assert decoded.masks == {"file": 14, "otsu": 2, "none": 0}
    assert decoded.masks_degenerate == 1
    source, config = ham(tmp_path, mask="none")
    assert fill_cache(source, config, tmp_path, quiet).masks == {"file": 0, "otsu": 0, "none": 16}


def test_arrays_with_masks(tmp_path: Path) -> None:
    config = DataConfig.model_validate({"image_size": 16, "phantom": {"lesions": 14, "views": 1}})
    decoded = fill_cache(read(config, 0), config, tmp_path, quiet)
    assert decoded.masks["file"] == 14
    assert set(np.unique(np.load(tmp_path / "masks.npy"))) <= {0, 255}


def test_an_exif_image_and_its_upright_mask_overlap_in_the_cache(tmp_path: Path) -> None:
    """Draw the case exif-and-mask: a lesion off the centre, stored by a camera that was held sideways."""
    layouts.write_ham(tmp_path)
    shown = np.full((60, 60, 3), 220, np.uint8)
    shown[40:56, 4:20] = 30
    tags = Image.Exif()
    tags[0x0112] = 6
    stored = Image.fromarray(shown).transpose(Image.Transpose.ROTATE_90)
    stored.save(tmp_path / "images" / "ISIC_0000.jpg", exif=tags.tobytes(), quality=95)
    layouts.save(
        tmp_path / "masks" / "ISIC_0000_segmentation.png",
        np.where(shown[..., 0] < 99, 255, 0).astype(np.uint8),
    )
    source, config = ham(tmp_path, image_size=32)
    fill_cache(source, config, tmp_path, quiet)
    dark = np.load(tmp_path / "images.npy")[0, ..., 0] < 125
    lesion = np.load(tmp_path / "masks.npy")[0] > 0
    assert lesion.sum() > 40
    assert (dark & lesion).sum() / (dark | lesion).sum() > 0.9


def bomb(path: Path) -> None:
    path.write_bytes(png_of(30000, 30000))


def floats(path: Path) -> None:
    Image.fromarray(np.full((16, 16), -5.0, np.float32)).save(path, format="TIFF")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (bomb, r"30000 x 30000 pixels, more than the limit of 178,956,970"),
        (floats, "values go from -5 to 0"),
    ],
)
def test_what_cannot_be_decoded_is_named_or_skipped_and_counted(tmp_path: Path, make, said: str) -> None:  # type: ignore[no-untyped-def]
    layouts.write_ham(tmp_path)
    make(tmp_path / "images" / "ISIC_0031.jpg")
    source, config = ham(tmp_path)
    with pytest.raises(DataError, match=f"ISIC_0031.jpg: cannot be decoded .*{said}.*on_bad_image=skip"):
        fill_cache(source, config, tmp_path, quiet)
    source, config = ham(tmp_path, on_bad_image="skip")
    decoded = fill_cache(source, config, tmp_path, quiet)
    assert [name for name, _ in decoded.skipped] == ["ISIC_0031"]
    assert np.load(tmp_path / "images.npy").shape[0] == 15


@pytest.mark.timeout(300)
def test_a_pipe_named_like_an_image_is_absent_and_never_opened(tmp_path: Path) -> None:
    layouts.write_ham(tmp_path)
    (tmp_path / "images" / "ISIC_0031.jpg").unlink()
    os.mkfifo(tmp_path / "images" / "ISIC_0031.jpg")
    with pytest.raises(DataError, match="image ISIC_0031 is listed but its file is absent"):
        ham(tmp_path)
    source, config = ham(tmp_path, on_bad_image="skip")
    assert len(fill_cache(source, config, tmp_path, quiet).good_N) == 15
    assert source.left_out == {"pipes, sockets or devices": 1}


@pytest.mark.timeout(300)
def test_a_table_that_is_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(DataError, match=r"t\.csv: cannot be read as a table \(a pipe, socket or device"):
        read_rows(tmp_path / "t.csv")
