"""One lesion twice is found in spite of colour, light and framing; look-alikes are not."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from engine.config import DataConfig
from engine.data.decoding import decode_image
from engine.data.duplicates.candidates import TURNS
from engine.data.duplicates.search import detail_threshold, find_duplicates, thumbnails
from engine.data.readers.table import read
from engine.types import strings
from tests.fakes import no_progress


def skins(count: int, size: int = 72) -> np.ndarray:
    """Discs of one place and size on textures of their own: alike in outline, different in detail."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:size, :size]
    disc = ndimage.gaussian_filter(((y - 36) ** 2 + (x - 36) ** 2 < 200).astype(float), 2)
    texture = ndimage.gaussian_filter(rng.normal(size=(count, size, size)), (0, 1, 1)) * 60
    grey = 200 - 100 * disc + texture
    return np.clip(np.repeat(grey[..., None], 3, axis=-1), 0, 255).astype(np.uint8)


def test_shifted_recoloured_copy_is_found_and_nothing_else() -> None:
    wide = skins(12)
    images = wide[:, 4:68, 4:68]
    copy = np.clip(wide[3, 6:70, 1:65] * np.array([0.8, 0.9, 1.0]) + 10, 0, 255).astype(np.uint8)
    found = find_duplicates(
        np.concatenate([images, copy[None]]), strings([f"L{i}" for i in range(13)]), no_progress
    )
    assert found.pairs_P2.tolist() == [[3, 12]]
    assert 0 <= found.distance_P[0] < 0.4


def test_pairs_of_one_lesion_are_not_reported() -> None:
    images = skins(4)[:, 4:68, 4:68][[0, 0, 1, 2, 3]]
    assert len(find_duplicates(images, strings(["A", "A", "B", "C", "D"]), no_progress).pairs_P2) == 0
    assert find_duplicates(images, strings(["A", "E", "B", "C", "D"]), no_progress).pairs_P2.tolist() == [
        [0, 1]
    ]


def test_many_equal_images_are_look_alikes_not_duplicates() -> None:
    images = np.repeat(skins(1), 8, axis=0)
    noisy = np.clip(images + np.random.default_rng(0).integers(-8, 9, images.shape), 0, 255).astype(np.uint8)
    assert len(find_duplicates(noisy, strings([str(i) for i in range(8)]), no_progress).pairs_P2) == 0


def test_a_family_of_copies_is_found_pair_by_pair() -> None:
    images = skins(12)[:, 4:68, 4:68]
    family = [images[2], images[2][:, ::-1], images[2][::-1], np.rot90(images[2])]
    found = find_duplicates(
        np.concatenate([images, np.stack(family)]), strings([str(i) for i in range(16)]), no_progress
    )
    rows = [2, 12, 13, 14, 15]
    assert found.pairs_P2.tolist() == [[a, b] for k, a in enumerate(rows) for b in rows[k + 1 :]]


def test_equal_pixels_are_exact_however_many_and_plain_images_are_not() -> None:
    images = np.concatenate([np.repeat(skins(1), 8, axis=0), np.zeros((3, 72, 72, 3), np.uint8)])
    found = find_duplicates(images, strings([str(i) for i in range(11)]), no_progress)
    assert found.pairs_P2.tolist() == [[0, k] for k in range(1, 8)]
    assert found.exact_P.all() and not found.distance_P.any()


def phantoms(side: int = 64) -> tuple[np.ndarray, np.ndarray]:
    source = read(DataConfig.model_validate({"image_size": side, "phantom": {"lesions": 40, "views": 1}}), 0)
    assert source.frames is not None
    return np.stack(source.frames), source.table.lesion_id


def recompressed(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, format="JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def cropped(image: np.ndarray) -> np.ndarray:
    height, width = (round(0.95 * side) for side in image.shape[:2])
    return image[-height:, :width]


COPIES = {
    "mirrored": (lambda x: x[:, ::-1], "mirrored"),
    "rotated": (np.rot90, "turned 270"),
    "cropped": (cropped, "as it is"),
    "recompressed": (lambda x: recompressed(x, 60), "as it is"),
    "all": (lambda x: recompressed(cropped(np.rot90(x[:, ::-1])), 60), "mirrored, turned 90"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", COPIES)
def test_planted_copies_of_phantoms_are_found(kind: str) -> None:
    change, turn = COPIES[kind]
    images, lesions = phantoms()
    sources = [3, 11, 19, 27, 35]
    copies = np.stack([decode_image(np.ascontiguousarray(change(images[row])), 64) for row in sources])
    found = find_duplicates(
        np.concatenate([images, copies]), strings([*lesions, *(f"copy {i}" for i in range(5))]), no_progress
    )
    assert found.pairs_P2.tolist() == [[row, len(images) + i] for i, row in enumerate(sources)]
    assert {TURNS[turn] for turn in found.turn_P} == {turn}
    if "crop" in kind:
        assert found.placement_P4[:, 0] == pytest.approx(np.log(1 / 0.95), abs=0.015)


def test_larger_images_are_compared_as_thumbnails() -> None:
    images = np.repeat(np.repeat(skins(5)[:, 4:68, 4:68], 2, axis=1), 2, axis=2)[[0, 1, 2, 3, 4, 2]]
    assert find_duplicates(images, strings(list("abcdef")), no_progress).pairs_P2.tolist() == [[2, 5]]


def test_enlarged_images_are_compared_at_the_size_they_had() -> None:
    rng = np.random.default_rng(2)
    small = rng.integers(0, 256, (30, 28, 28, 3)).astype(np.uint8)
    images = np.stack([decode_image(image, 64) for image in small])
    group = strings([str(i) for i in range(30)])
    assert thumbnails(images, 28).shape == (30, 28, 28)
    assert len(find_duplicates(images, group, no_progress, 28).pairs_P2) == 0
    twice = np.concatenate([images, images[4:5, :, ::-1]])
    found = find_duplicates(twice, strings([*group, "twice"]), no_progress, 28)
    assert found.pairs_P2.tolist() == [[4, 30]]


def test_very_small_images_are_duplicates_only_pixel_by_pixel() -> None:
    images = skins(6)[:, ::4, ::4][[0, 1, 2, 3, 4, 5, 2]]
    images[5] = images[1]
    images[5, 0, 0] ^= 1
    found = find_duplicates(images, strings(list("abcdefg")), no_progress)
    assert found.pairs_P2.tolist() == [[2, 6]] and found.exact_P.all()


def test_two_plain_images() -> None:
    images = np.full((2, 16, 16, 3), 9, np.uint8)
    assert len(find_duplicates(images, strings(["a", "b"]), no_progress).pairs_P2) == 0


def test_threshold_rises_where_pixels_are_few() -> None:
    assert detail_threshold(64) == pytest.approx(0.45)
    assert detail_threshold(32) > 0.9


@pytest.mark.parametrize("side", [32, 64])
def test_phantoms_hold_no_duplicates(side: int) -> None:
    assert len(find_duplicates(*phantoms(side), no_progress).pairs_P2) == 0


@pytest.mark.real_data
@pytest.mark.skipif("HARDCASE_DATA" not in os.environ, reason="HARDCASE_DATA is not set")
def test_ham10000_pair_under_two_lesion_ids() -> None:
    folder = Path(os.environ["HARDCASE_DATA"]) / "ham10000" / "images"
    names = ["ISIC_0025226", "ISIC_0030074", "ISIC_0029152", "ISIC_0033173"]
    names += sorted(p.stem for p in folder.glob("*.jpg"))[:40]
    images = np.stack([decode_image(folder / f"{name}.jpg", 64) for name in names])
    found = find_duplicates(images, strings([str(i) for i in range(len(names))]), no_progress)
    assert found.pairs_P2.tolist() == [[0, 1], [2, 3]]


@pytest.mark.real_data
@pytest.mark.skipif("HARDCASE_DATA" not in os.environ, reason="HARDCASE_DATA is not set")
def test_copies_planted_among_ham10000_images() -> None:
    folder = Path(os.environ["HARDCASE_DATA"]) / "ham10000" / "images"
    files = sorted(folder.glob("*.jpg"))[::20]
    images = np.stack([decode_image(file, 64) for file in files])
    sources = np.arange(0, 100, 2)
    changes = [COPIES[kind][0] for kind in COPIES]
    copies = [
        decode_image(np.ascontiguousarray(changes[i % len(changes)](np.asarray(Image.open(files[row])))), 64)
        for i, row in enumerate(sources)
    ]
    group = strings([*(file.stem for file in files), *(f"copy {row}" for row in sources)])
    found = find_duplicates(np.concatenate([images, np.stack(copies)]), group, no_progress)
    pairs = set(map(tuple, found.pairs_P2.tolist()))
    planted = {(int(row), len(files) + i) for i, row in enumerate(sources)}
    assert len(pairs & planted) >= 0.95 * len(planted)
    assert sum(b >= len(files) for _, b in pairs - planted) == 0
